"""Apply `supabase/migrations/*.sql`: in the order of their versions, each once, each in one transaction.

Recorded where the Supabase CLI records them (`supabase_migrations.schema_migrations`), so that it takes over
where we stop. A migration is `<version>_<name>.sql`, its version all digits.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg

from sandbox.processes import SandboxError

NAME = re.compile(r"(?P<version>\d+)_(?P<name>\w+)\.sql")
LOCK = 7_718_001  # one migration run at a time: an arbitrary number of ours

JOURNAL = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text primary key, statements text[], name text
)
"""


@dataclass(frozen=True, order=True)
class Migration:
    version: str
    name: str
    path: Path


def migrate(database_url: str, folder: Path) -> list[str]:
    """Apply what is not applied yet; return the file names, in order.

    Raises:
        SandboxError: a file is not named as a migration, or failed; says which, its line and Postgres' reason.
            Those before it stay applied, nothing of it does.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        connection.execute(JOURNAL)
        done = {
            version for (version,) in connection.execute("select version from supabase_migrations.schema_migrations")
        }
        pending = [migration for migration in migrations(folder) if migration.version not in done]
        for migration in pending:
            _apply(connection, migration)
        connection.execute("notify pgrst, 'reload schema'")
    return [migration.path.name for migration in pending]


def migrations(folder: Path) -> list[Migration]:
    """Return the migrations in `folder`, in order.

    Raises:
        SandboxError: a name is no migration's, or two have one version.
    """
    found = sorted(_read(path) for path in folder.glob("*.sql"))
    for one, following in pairwise(found):
        if one.version == following.version:
            msg = f"two migrations have the version {one.version}: {one.path.name} and {following.path.name}"
            raise SandboxError(msg)
    return found


def _read(path: Path) -> Migration:
    match = NAME.fullmatch(path.name)
    if match is None:
        msg = f"{path} is not named as a migration: 20260131120000_what_it_does.sql"
        raise SandboxError(msg)
    return Migration(match["version"], match["name"], path)


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    statements = migration.path.read_text(encoding="utf-8")
    try:
        with connection.transaction():
            connection.execute(statements.encode())
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                (migration.version, migration.name, [statements]),
            )
    except psycopg.Error as error:
        raise SandboxError(_explain(migration, statements, error)) from error


def _explain(migration: Migration, statements: str, error: psycopg.Error) -> str:
    position = int(error.diag.statement_position or 0)
    line = statements.count("\n", 0, position) + 1 if position else None
    where = migration.path.name + (f", line {line}" if line else "")
    details = (error.diag.message_detail, error.diag.message_hint, error.diag.context)
    return "\n  ".join([f"{where}: {error.diag.message_primary or error}", *(detail for detail in details if detail)])

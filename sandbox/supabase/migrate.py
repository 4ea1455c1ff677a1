"""Apply `supabase/migrations/*.sql` by version, each once and in a transaction of its own.

They are recorded in the table of the Supabase CLI (`supabase_migrations.schema_migrations`), which
can therefore continue. A migration is `<version>_<name>.sql`, its version all digits.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from sandbox.errors import SandboxError

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"(?P<version>\d+)_(?P<name>\w+)\.sql")
TOKEN = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|--[^\n]*|/\*.*?\*/|(\$\w*\$).*?\1|;|\S""", re.DOTALL)
SCHEMES = ("postgresql", "postgres")
CONNECT_TIMEOUT_S = 10
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


Watch = Callable[[Iterable[Migration], int], Iterable[Migration]]
"""Passes on migrations as they are applied, of as many."""


def migrate(
    database_url: str, folder: Path, watch: Watch = lambda pending, _: pending
) -> list[str]:
    """Apply what is not applied yet; return the file names, in order.

    Raises:
        SandboxError: a file has no migration's name, failed (with line and reason of Postgres;
                earlier files stay applied), or was edited after it was applied.
    """
    connection = psycopg.connect(database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    with connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        connection.execute(JOURNAL)
        journal = connection.execute(
            "select version, statements from supabase_migrations.schema_migrations"
        ).fetchall()
        done: dict[str, list[str] | None] = dict(journal)
        pending = [migration for migration in migrations(folder) if not _applied(migration, done)]
        for migration in watch(pending, len(pending)):
            _apply(connection, migration)
        connection.execute("notify pgrst, 'reload schema'")
    return [migration.path.name for migration in pending]


def apply_to(database_url: str, watch: Watch) -> list[str]:
    """Apply the migrations of this checkout to any database; return the file names, in order.

    Raises:
        ValueError: the address is malformed; the text holds no part of it, as of a password.
        SandboxError: it cannot be reached, or a migration failed.
    """
    try:
        parts = urlsplit(database_url)
        is_valid = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        msg = "DATABASE_URL: give an address such as postgresql://postgres:PASSWORD@host:5432/postgres"
        raise ValueError(msg)
    try:
        return migrate(database_url, ROOT / "supabase" / "migrations", watch)
    except psycopg.Error as error:
        msg = f"the database cannot be used: {error}"
        raise SandboxError(msg) from None


def _applied(migration: Migration, done: dict[str, list[str] | None]) -> bool:
    """Return whether this text is applied; an entry of the Supabase CLI is trusted."""
    if migration.version not in done:
        return False
    statements = done[migration.version]
    if (
        statements
        and len(statements) == 1
        and statements[0] != migration.path.read_text(encoding="utf-8")
    ):
        msg = (
            f"{migration.path.name} has been edited since this database applied it: write a new "
            "migration, or start afresh without this data (`make clean`)"
        )
        raise SandboxError(msg)
    return True


def migrations(folder: Path) -> list[Migration]:
    """Return the migrations in `folder`, in order.

    Raises:
        SandboxError: a name is no migration's, or two have one version.
    """
    found = sorted(_read(path) for path in folder.glob("*.sql"))
    for one, following in pairwise(found):
        if one.version == following.version:
            names = f"{one.path.name} and {following.path.name}"
            msg = f"two migrations have the version {one.version}: {names}"
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
    with connection.transaction():
        _run(connection, migration.path.name, statements)
        connection.execute(
            "insert into supabase_migrations.schema_migrations (version, name, statements)"
            " values (%s, %s, %s)",
            (migration.version, migration.name, [statements]),
        )


def _run(connection: psycopg.Connection, name: str, statements: str) -> None:
    """Send the whole file as it is; the answers, one per statement, tell which of them failed."""
    connection.pgconn.send_query(statements.encode())
    failure: psycopg.Error | None = None
    answered = 0
    while result := connection.pgconn.get_result():
        if result.status == ExecStatus.FATAL_ERROR:
            failure = error_from_result(result)
        answered += failure is None
    if failure:
        position = int(failure.diag.statement_position or 0) or _starts(statements)[answered]
        line = statements.count("\n", 0, position) + 1
        details = (failure.diag.message_detail, failure.diag.message_hint, failure.diag.context)
        lines = [
            f"{name}, line {line}: {failure.diag.message_primary}",
            *(detail for detail in details if detail),
        ]
        raise SandboxError("\n  ".join(lines)) from failure


def _starts(statements: str) -> list[int]:
    """Return where each statement begins, and where the text ends."""
    starts: list[int] = []
    between = True
    for token in TOKEN.finditer(statements):
        if token[0] == ";":
            between = True
        elif between and not token[0].startswith(("--", "/*")):
            starts.append(token.start())
            between = False
    return [*starts, len(statements)]

"""`wpp migrate` brings any database up to this checkout, however often and by however many."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from sandbox.supabase.migrate import migrate, migrations
from sandbox.supabase.project import BOOTSTRAP, MIGRATIONS, Supabase
from workers.cli.app import app

ALL = [each.path.name for each in migrations(MIGRATIONS)]


@pytest.fixture
def url(supabase_world: Supabase) -> Iterator[str]:
    """Return a database as a new project of Supabase has it."""
    admin_url = supabase_world.postgres.admin_url
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("create database fresh owner postgres")
    with psycopg.connect(f"{admin_url.rpartition('/')[0]}/fresh", autocommit=True) as connection:
        connection.execute(BOOTSTRAP.read_bytes())
    yield f"{supabase_world.database_url.rpartition('/')[0]}/fresh"
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("drop database fresh with (force)")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["migrate", *arguments])


def test_it_applies_what_is_missing_and_refuses_an_edited_one(url: str, tmp_path: Path) -> None:
    for name in ALL[:-2]:
        shutil.copy(MIGRATIONS / name, tmp_path)
    migrate(url, tmp_path)
    first = run(url)
    assert (first.exit_code, first.stdout.splitlines()) == (0, ALL[-2:])
    again = run(url)
    assert (again.exit_code, again.stdout) == (0, "no migration was missing\n")
    assert json.loads(run(url, "--json").stdout) == {"applied": []}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "update supabase_migrations.schema_migrations set statements = array['select 1']"
            " where version = %s",
            (ALL[3].partition("_")[0],),
        )
    edited = run(url)
    assert edited.exit_code == 1
    assert f"{ALL[3]} has been edited" in edited.stderr


def test_two_at_once_apply_each_migration_once(url: str) -> None:
    command = [sys.executable, "-m", "workers.cli.app", "migrate", url, "--json"]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [program.communicate(timeout=100)[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0]
    assert sorted(name for each in answers for name in json.loads(each)["applied"]) == ALL


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("postgresql://postgres:hunter2@127.0.0.1:9/postgres", 1),
        ("postgresql://postgres:hunter2@127.0.0.1:99999/postgres", 2),
        ("postgres:hunter2@127.0.0.1/postgres", 2),
    ],
    ids=["away", "no port", "no address"],
)
def test_a_wrong_address_is_an_error_without_its_password(address: str, code: int) -> None:
    done = run(address)
    assert done.exit_code == code
    assert "hunter2" not in done.output
    assert "Traceback" not in done.output

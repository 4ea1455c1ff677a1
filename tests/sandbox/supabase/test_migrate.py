from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.errors import SandboxError
from sandbox.supabase.migrate import migrate
from sandbox.supabase.project import Supabase

FIRST = "create table trial.events (id int primary key, at int);"
SECOND = "insert into trial.events values (1, (select count(*) from trial.events));"


@pytest.fixture
def url(supabase_world: Supabase) -> Iterator[str]:
    """Return a database of its own, with an empty schema `trial`."""
    with psycopg.connect(supabase_world.database_url, autocommit=True) as connection:
        connection.execute("create database trial")
    url = supabase_world.database_url.rpartition("/")[0] + "/trial"
    with psycopg.connect(url) as connection:
        connection.execute("create schema trial")
    yield url
    with psycopg.connect(supabase_world.database_url, autocommit=True) as connection:
        connection.execute("drop database trial with (force)")


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def write(folder: Path, **files: str) -> None:
    for name, statements in files.items():
        (folder / f"{name.removeprefix('v')}.sql").write_text(statements)


def test_applies_each_once_in_order(url: str, tmp_path: Path) -> None:
    write(tmp_path, v20260102000000_second=SECOND, v20260101000000_first=FIRST)
    assert migrate(url, tmp_path) == ["20260101000000_first.sql", "20260102000000_second.sql"]
    write(tmp_path, v20260103000000_third="insert into trial.events values (2, 2);")
    assert migrate(url, tmp_path) == ["20260103000000_third.sql"]
    assert migrate(url, tmp_path) == []
    assert rows(url, "select id, at from trial.events order by id") == [(1, 0), (2, 2)]


def test_records_them_where_the_supabase_cli_does(url: str, tmp_path: Path) -> None:
    write(tmp_path, v20260101000000_first=FIRST)
    migrate(url, tmp_path)
    recorded = "select version, name, statements from supabase_migrations.schema_migrations"
    assert rows(url, recorded) == [("20260101000000", "first", [FIRST])]


def test_a_failing_one_is_named_with_its_line_and_leaves_nothing(url: str, tmp_path: Path) -> None:
    """What came before it stays applied; mended, it is applied."""
    broken = (
        "insert into trial.events values (7, 7);\n\ncreate table trial.broken (id no_such_type);\n"
    )
    write(tmp_path, v20260101000000_first=FIRST, v20260102000000_broken=broken)
    with pytest.raises(
        SandboxError, match=r'20260102000000_broken.sql, line 3: type "no_such_type" does not exist'
    ):
        migrate(url, tmp_path)
    assert rows(url, "select * from trial.events") == []
    write(tmp_path, v20260102000000_broken=broken.replace("no_such_type", "int"))
    assert migrate(url, tmp_path) == ["20260102000000_broken.sql"]


def test_names_the_line_of_a_statement_that_the_data_refuses(url: str, tmp_path: Path) -> None:
    """Postgres gives no position for these: it is the statement's first line."""
    block = "-- a; b\ndo $$ begin perform 1; end $$;\n\n"
    statements = FIRST + "\n" + block + "insert into trial.events\n  values (1), (1);\n"  # noqa: S608
    write(tmp_path, v20260101000000_first=statements)
    with pytest.raises(SandboxError, match=r"first.sql, line 5: duplicate key value"):
        migrate(url, tmp_path)


def test_refuses_names_that_are_no_versions(url: str, tmp_path: Path) -> None:
    write(tmp_path, first=FIRST)
    with pytest.raises(SandboxError, match=r"first.sql is not named as a migration"):
        migrate(url, tmp_path)


def test_refuses_two_of_one_version(url: str, tmp_path: Path) -> None:
    write(tmp_path, v20260101000000_first=FIRST, v20260101000000_other=SECOND)
    with pytest.raises(SandboxError, match="two migrations have the version 20260101000000"):
        migrate(url, tmp_path)


def test_an_edited_one_is_not_passed_over(url: str, tmp_path: Path) -> None:
    """A database that applied a different text matches neither version."""
    write(tmp_path, v20260101000000_first=FIRST)
    migrate(url, tmp_path)
    write(tmp_path, v20260101000000_first=FIRST.replace("at int", "at bigint"))
    with pytest.raises(
        SandboxError, match=r"20260101000000_first\.sql has been edited since .*`make clean`"
    ):
        migrate(url, tmp_path)

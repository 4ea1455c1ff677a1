"""Migrations only add: processes of the last release work on while, and after, they are applied."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.supabase.migrate import migrate
from sandbox.supabase.project import MIGRATIONS, Supabase
from tests.fixtures.release import unpack_release
from tests.migrations.catalog import Catalog, find_breaks, read_catalog
from tests.migrations.test_upgrade import CRM, upgraded


@pytest.fixture(scope="module")
def released(supabase_world: Supabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a database of the CRM with the migrations of the last release."""
    folder = unpack_release(tmp_path_factory.mktemp("release")) / "supabase" / "migrations"
    with upgraded(supabase_world, "released", CRM, folder) as url:
        yield url


def read(url: str) -> Catalog:
    with psycopg.connect(url) as connection:
        return read_catalog(connection)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("alter table wpp_files drop column path", "wpp_files.path is gone"),
        ("alter table wpp_files rename path to place", "wpp_files.path is gone"),
        ("alter table wpp_files alter used_at set not null", "used_at refuses nulls"),
        ("alter table wpp_files add kind text not null", "kind is new and needs a value"),
        ("alter table wpp_files alter path type varchar(9)", "path was text and is varchar"),
        ("alter table wpp_files add check (path <> '')", "has the constraint"),
        ("drop function wpp_prune(timestamptz, integer)", "wpp_prune("),
        (
            "create function wpp_settings(a text, b int) returns int language sql as 'select 1'",
            "stands beside another wpp_settings",
        ),
    ],
    ids=["drop", "rename", "not null", "no default", "type", "check", "no function", "overload"],
)
def test_the_check_finds_what_breaks_older_processes(released: str, change: str, told: str) -> None:
    before = read(released)
    with psycopg.connect(released) as connection:
        connection.execute(change.encode())
        found = list(find_breaks(before, read_catalog(connection)))
        connection.rollback()
    assert [line for line in found if told in line], found


def test_the_check_allows_what_only_adds(released: str) -> None:
    before = read(released)
    with psycopg.connect(released) as connection:
        connection.execute("alter table wpp_files add kind text not null default 'x'")
        connection.execute("create table wpp_more (id int not null, name text check (name <> ''))")
        connection.execute("create function wpp_more_of() returns int language sql as 'select 1'")
        found = list(find_breaks(before, read_catalog(connection)))
        connection.rollback()
    assert found == []


def test_migrations_since_the_last_release_only_add(released: str) -> None:
    """A released migration that is edited since is refused."""
    before = read(released)
    migrate(released, MIGRATIONS)
    assert list(find_breaks(before, read(released))) == []


def test_the_last_release_is_kept(tmp_path: Path) -> None:
    """As sources with a Procfile: no network and no history is needed to run it."""
    root = unpack_release(tmp_path)
    assert (root / "Procfile").is_file()
    assert (root / "workers" / "main.py").is_file()

import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.errors import SandboxError
from sandbox.ports import free_port
from sandbox.processes import User
from sandbox.supabase import home
from sandbox.supabase.postgres import Postgres


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a folder that Postgres may enter when root runs the tests."""
    with tempfile.TemporaryDirectory(prefix="wpp-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run(postgres: Postgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(postgres.admin_url) as connection:
        answer = connection.execute(statement.encode())
        return answer.fetchall() if answer.description else []


def test_keeps_data_and_takes_over_from_one_that_was_left_running(directory: Path) -> None:
    """A Postgres that a dead launcher left on the data is stopped, and what it acknowledged is there."""
    left = Postgres(directory, free_port(), "secret", durable=False)
    left.start()
    run(left, "create table kept as select 1 as one")
    next_one = Postgres(directory, free_port(), "secret", durable=False)
    next_one.start()
    try:
        with pytest.raises(SandboxError, match="stopped with status 0"):
            left.check()
        assert run(next_one, "select one from kept") == [(1,)]
    finally:
        next_one.stop()


def test_says_when_the_data_has_another_password(directory: Path) -> None:
    postgres = Postgres(directory, free_port(), "secret", durable=False)
    postgres.start()
    postgres.stop()
    other = Postgres(directory, postgres.port, "another", durable=False)
    try:
        with pytest.raises(SandboxError, match="made with another password"):
            other.start()
    finally:
        other.stop()


def test_lets_nobody_in_without_the_password(supabase_world_postgres: Postgres) -> None:
    url = supabase_world_postgres.url_for("supabase_admin", "guessed")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


@pytest.fixture
def supabase_world_postgres(request: pytest.FixtureRequest) -> Postgres:
    postgres: Postgres = request.getfixturevalue("supabase_world").postgres
    return postgres


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder that stands for /var/tmp."""
    folder = tmp_path / "var-tmp"
    folder.mkdir()
    monkeypatch.setattr(home, "ELSEWHERE", folder)
    return folder


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Return a folder below one that only its owner may enter, as /root is."""
    (tmp_path / "root").mkdir(mode=0o700)
    (tmp_path / "root" / "postgres").mkdir()
    return tmp_path / "root" / "postgres"


ANOTHER = User(uid=65_534, gid=65_534)


def test_lives_in_its_folder_where_it_may(closed: Path, directory: Path, elsewhere: Path) -> None:
    """Its own user's folder is always fine; another user needs one that is open all the way up."""
    assert home.place(closed, None) == closed
    assert home.place(directory, ANOTHER) == directory
    assert list(elsewhere.iterdir()) == []


def test_lives_elsewhere_where_it_may_not_enter(closed: Path, elsewhere: Path) -> None:
    """Always the same place for one folder, open to its user."""
    place = home.place(closed, ANOTHER)
    assert place.parent == elsewhere
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    (place / "data").touch()
    assert home.place(closed, ANOTHER) == place
    assert (place / "data").exists()


def test_deleting_its_folder_discards_what_lives_elsewhere(closed: Path, elsewhere: Path) -> None:
    """`make clean` removes .local and knows nothing of /var/tmp."""
    place = home.place(closed, ANOTHER)
    (place / "data").touch()
    (closed / "home").unlink()
    assert home.place(closed, ANOTHER) == place
    assert list(place.iterdir()) == []
    assert place.parent == elsewhere


def test_refuses_a_place_that_is_a_link(closed: Path, elsewhere: Path, directory: Path) -> None:
    """Where everybody may write, somebody may have been there first."""
    place = home.place(closed, ANOTHER)
    place.rmdir()
    place.symlink_to(directory)
    with pytest.raises(SandboxError, match="belongs to somebody else"):
        home.place(closed, ANOTHER)
    assert list(elsewhere.iterdir()) == [place]


@pytest.mark.parametrize("kind", ["installed", "copied"])
def test_programs_run_where_they_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied, they find the libraries that came with them."""
    monkeypatch.setattr(home, "_may_enter", lambda _: kind == "installed")
    found = home.binaries(tmp_path, ANOTHER)
    assert found.is_relative_to(tmp_path) == (kind == "copied")
    shown = subprocess.run(
        [found / "initdb", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith("initdb (PostgreSQL) 18")

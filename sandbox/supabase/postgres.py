"""A real Postgres: initialised, started, stopped, killed, and found again after a crash of ours."""

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
from sandbox.processes import Process, Program, User
from sandbox.supabase import home

ADMIN = "supabase_admin"
READY_WITHIN_S = 30.0
SETTINGS = {
    "listen_addresses": LOCALHOST,
    "unix_socket_directories": "",  # a socket's path may be no longer than 107 bytes: nobody can promise that
    "shared_buffers": "64MB",
    "max_connections": "60",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
}


class Postgres:
    """One Postgres on 127.0.0.1. Its data lives in `directory` (see `home` for root) and survives stop and kill.

    `durable=False` skips fsync: for tests, which lose nothing when the machine stops.
    """

    def __init__(self, directory: Path, port: int, password: str, *, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self.port = port
        self._password = password
        self._durable = durable
        self._user = home.runner()
        self._process: Process | None = None

    @property
    def admin_url(self) -> str:
        return self.url_for(ADMIN, self._password)

    def url_for(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{LOCALHOST}:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def launch(self) -> None:
        """Start it without waiting; a new directory is initialised first (about 0.5 s).

        Raises:
            SandboxError: its binaries or directory cannot be used, each with the reason.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        place = home.place(self.directory, self._user)
        binaries = home.binaries(place, self._user)
        data = place / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, data)
        _stop_leftover(data)
        settings = {**SETTINGS, "port": str(self.port)} | (
            {} if self._durable else {"fsync": "off"}
        )
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = Process(
            Program(
                "Postgres",
                (str(binaries / "postgres"), "-D", str(data), *options),
                self.directory / "postgres.log",
                self.port,
                user=self._user,
                stop_signal=signal.SIGINT,  # its "fast" shutdown: closes the connections instead of waiting for them
            )
        )

    def start(self) -> None:
        self.launch()
        self.wait()

    def wait(self) -> None:
        """Return once it accepts connections.

        Raises:
            SandboxError: it stopped, with the end of its log.
        """
        if self._process:
            self._process.wait_until(self._answers, within_s=READY_WITHIN_S)

    def check(self) -> None:
        """Raises SandboxError if it has stopped by itself."""
        if self._process:
            self._process.check()

    def stop(self) -> None:
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._process:
            self._process.kill()

    def restart(self) -> None:
        """Kill it and start it again on the same port and data."""
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.admin_url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                msg = f"the data in {self.directory} was made with another password: restore it, or delete that folder"
                raise SandboxError(msg) from None
            return False
        return True

    def _initialise(self, binaries: Path, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)  # what an interrupted attempt left
        data.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=data.parent, suffix=".password") as password:
            password.write(self._password)
            password.flush()
            for path in (data, Path(password.name)):
                _give(path, self._user)
            flags = [
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--auth=scram-sha-256",
                "--no-instructions",
                "--no-sync",
            ]
            whom = ["-U", ADMIN, f"--pwfile={password.name}"]
            _run_as(self._user, [str(binaries / "initdb"), "-D", str(data), *whom, *flags])


def _give(path: Path, user: User | None) -> None:
    if user:
        os.chown(path, user.uid, user.gid)


def _run_as(user: User | None, command: list[str]) -> None:
    uid, gid, groups = (user.uid, user.gid, ()) if user else (None, None, None)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=uid,
        group=gid,
        extra_groups=groups,
    )
    if done.returncode:
        msg = f"{Path(command[0]).name} failed with status {done.returncode}: {done.stderr.strip()[-800:]}"
        raise SandboxError(msg)


def _stop_leftover(data: Path) -> None:
    """End the Postgres that a killed launcher left on `data`."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        postmaster = psutil.Process(pid)
        if str(data) not in postmaster.cmdline():
            return
        for ending in (signal.SIGINT, signal.SIGKILL):
            postmaster.send_signal(ending)
            with contextlib.suppress(psutil.TimeoutExpired):
                postmaster.wait(10)
                return

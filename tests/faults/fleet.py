"""The pipeline's processes, as the Procfile has them, under a supervisor that starts again whatever dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from sandbox import parent_death
from sandbox.pipeline import ROOT

EVERY = {"web": 1, "send": 2, "provision": 1, "webhook": 1, "record": 1, "clock": 1}
RESTART_AFTER_S = 0.1
POLL_S = 0.05


def commands() -> dict[str, str]:
    """Return {name: command line} of the Procfile."""
    lines = [
        line.partition(":") for line in (ROOT / "Procfile").read_text().splitlines() if ":" in line
    ]
    return {name.strip(): command.strip() for name, _, command in lines}


class Service:
    """One line of the Procfile as one process group, started again when it ends by itself, unless `held`."""

    def __init__(self, name: str, command: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.held = False
        self.starts = 0
        self.exits: list[int] = []
        self.log = log
        self.command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it. It dies with the thread that calls this."""
        tied = (
            str(os.getpid()),
            str(int(signal.SIGKILL)),
            str(parent_death.KEEP),
            str(parent_death.KEEP),
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    parent_death.__file__,
                    *tied,
                    "sh",
                    "-c",
                    f"exec env {self.command}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self._environment),
                cwd=ROOT,
                start_new_session=True,
            )
        self.starts += 1

    def kill(self) -> None:
        """End all of it at once, as a machine's failure does."""
        process = self._process
        self.signal(signal.SIGKILL)
        if process:
            process.wait()

    def kill_child(self) -> bool:
        """End one of its child processes at once, if it has any."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                child.kill()
                return True
        return False

    def terminate(self, within_s: float) -> int:
        """Ask it to end (SIGTERM to the one process that a container would send it to) and return its exit code."""
        process = self._process
        assert process, f"{self.name} does not run"
        process.terminate()
        return process.wait(within_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of it."""
        if process := self._process:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def reap(self) -> bool:
        """Return whether it has ended, noting how the first time; what it left running ends too, as in a container."""
        if self._process is None or self._process.poll() is None:
            return False
        self.signal(signal.SIGKILL)
        self.exits.append(self._process.returncode)
        self._process = None
        return True


class Fleet:
    """`counts` services of each name with `environment`, as a context manager: {"web": 1, "send": 2, …}."""

    def __init__(
        self, environment: Mapping[str, str], logs: Path, counts: Mapping[str, int] | None = None
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        whole = {**os.environ, "PYTHONUNBUFFERED": "1", **environment, "PATH": path}
        lines = commands()
        self.services = [
            Service(name, lines[name], whole, logs / f"{name}{number}.log")
            for name, count in (EVERY if counts is None else counts).items()
            for number in range(count)
        ]
        self._ended = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def of(self, name: str) -> list[Service]:
        return [service for service in self.services if service.name == name]

    def one(self, name: str) -> Service:
        return self.of(name)[0]

    def _supervise(self) -> None:
        began_at: dict[Service, float] = dict.fromkeys(self.services, 0.0)
        while not self._ended.wait(POLL_S):
            for service in self.services:
                if service.reap():
                    began_at[service] = time.monotonic() + RESTART_AFTER_S
                if not service.held and service.pid == 0 and time.monotonic() >= began_at[service]:
                    service.start()
        for service in self.services:  # here, because they die with this thread anyway
            service.signal(signal.SIGCONT)
            service.kill()

    def __enter__(self) -> Self:
        self._supervisor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._supervisor.join()

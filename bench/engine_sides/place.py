"""The place of a measurement: a Redis, the programs on it, and their CPU time."""

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import psutil
import redis

from bench.engine_sides.handling import NOTES, Note, read
from sandbox.pipeline import ROOT
from sandbox.ports import LOCALHOST
from sandbox.processes import Process, Program
from sandbox.redis import RedisServer

REDIS = "redis"
LOG_LINES = 15
NOWHERE = f"http://{LOCALHOST}:9"
MADE_UP = {
    "SUPABASE_URL": NOWHERE,
    "WPP_BASE_URL": NOWHERE,
    "SUPABASE_ANON_KEY": "bench",
    "SUPABASE_SERVICE_ROLE_KEY": "bench",
    "WPP_SECRET": "bench",
    "WPP_KEY_SECRETS": "bench" * 8,
    "WPP_WEBHOOK_QUOTA": "0",
    "WPP_PUBLIC_URL": f"http://{LOCALHOST}",
}


class Place:
    """A durable Redis and the programs on it; all are killed at the end of the block."""

    def __init__(self, **environment: str) -> None:
        self._undo = ExitStack()
        self._environment = environment
        self.programs: list[Process] = []

    def __enter__(self) -> Self:
        self.directory = Path(self._undo.enter_context(TemporaryDirectory()))
        self.server = self._undo.enter_context(RedisServer(self.directory / "redis"))
        self.redis: Any = self._undo.enter_context(
            redis.Redis.from_url(self.server.url, max_connections=512)
        )
        self._undo.callback(self._end)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self._print_logs()
        self._undo.close()

    def _print_logs(self) -> None:
        """Print the ends of the logs: they are deleted with the place."""
        for program in (process.program for process in self.programs):
            lines = program.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            print(f"the end of the log of {program.name}:", *lines, sep="\n  | ", file=sys.stderr)

    def start(self, command: str, name: str = "", **environment: str) -> Process:
        """Start a command line, such as a line of the Procfile."""
        process = Process(
            Program(
                name or command.split(maxsplit=1)[0],
                ("sh", "-c", f"exec env {command}"),
                self.directory / f"{len(self.programs)}.log",
                environment=self._whole(environment),
            )
        )
        self.programs.append(process)
        return process

    def notes(self) -> list[Note]:
        return list(read(self._notes))

    @property
    def _notes(self) -> Path:
        return self.directory / "notes"

    def _whole(self, more: Mapping[str, str]) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        here = {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": self.server.url,
            NOTES: str(self._notes),
        }
        return {**os.environ, **MADE_UP, **here, **self._environment, **more}

    def _end(self) -> None:
        for program in self.programs:
            program.kill()

    def check(self) -> None:
        for program in self.programs:
            program.check()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the programs for a while: events appended meanwhile wait for all of them."""
        for program in self.programs:
            os.killpg(program.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for program in self.programs:
                os.killpg(program.pid, signal.SIGCONT)

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds (user, system) of the programs and of Redis so far."""
        used = self.cpu_by_name()
        redis_s = used.pop(REDIS)
        return sum(used.values()), redis_s

    def cpu_by_name(self) -> dict[str, float]:
        """Return the CPU seconds (user, system) so far by name of program, Redis among them."""
        found: dict[str, float] = defaultdict(float)
        for program in self.programs:
            found[program.program.name] += family_cpu_s(program.pid)
        used = self.redis.info("cpu")
        found[REDIS] = sum(
            float(used[f"used_cpu_{part}"])
            for part in ("user", "sys", "user_children", "sys_children")
        )
        return found


def list_family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def family_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of its children, and of those that have ended."""
    return sum(sum(each.cpu_times()[:4]) for each in list_family(pid))


def wait_until(done: Callable[[], object], within_s: float = 60.0, every_s: float = 0.02) -> bool:
    """Return whether it was done in time."""
    end = time.monotonic() + within_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(every_s)
    return True


def procfile(file: Path = ROOT / "Procfile") -> dict[str, str]:
    """Return {name: command line} of a Procfile."""
    lines = [line.partition(":") for line in file.read_text().splitlines() if ":" in line]
    return {name.strip(): command.strip() for name, _, command in lines}

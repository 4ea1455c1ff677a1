"""Start a program, wait until it serves, stop it: the one place in the sandbox that knows how.

A child has its own session (Ctrl-C reaches us alone, we stop it in order), writes to a log file,
and dies with us even when we are killed (Linux).
"""

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import httpx

from sandbox import parent_death
from sandbox.errors import SandboxError
from sandbox.ports import claim

POLL_S = 0.01
LOG_LINES = 15
Progress = Callable[[str], None]
Running = subprocess.Popen[bytes]
Order = tuple[Callable[[], Running], Future[Running]]


@dataclass(frozen=True)
class User:
    """Whom a program runs as, when we may choose (root)."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """What to run. `environment` is the whole of it; None inherits ours. `port` is the one it will listen on."""

    name: str
    command: Sequence[str]
    log: Path
    port: int | None = None
    environment: Mapping[str, str] | None = None
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM


class Process:
    """A running program.

    Raises:
        PortTakenError: somebody else listens on its port.
    """

    def __init__(self, program: Program) -> None:
        if program.port is not None:
            claim(program.name, program.port)
        self.program = program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        self._popen = _in_lasting_thread(lambda: _spawn(program))

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, within_s: float) -> None:
        """Return once `ready()`.

        Raises:
            SandboxError: it died first, or was not ready in time; with the last lines of its log.
        """
        deadline = time.monotonic() + within_s
        while True:
            self.check()
            if ready():
                return
            if time.monotonic() > deadline:
                self._fail(f"was not ready within {within_s:.0f} s")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises SandboxError if it has stopped by itself, with the last lines of its log."""
        if not self.alive:
            self._fail(f"stopped with status {self._popen.returncode}")

    def stop(self, *, within_s: float = 10) -> None:
        """Ask it to end, and end it when it does not."""
        if self.alive:
            self._popen.send_signal(self.program.stop_signal)
            try:
                self._popen.wait(within_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it and what it started, at once (SIGKILL)."""
        if self.alive:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def _fail(self, what: str) -> NoReturn:
        lines = self.program.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        tail = "\n".join(f"  | {line}" for line in lines) or "  | (it wrote nothing)"
        msg = f"{self.program.name} {what}. The end of {self.program.log}:\n{tail}"
        raise SandboxError(msg)


def serves(url: str) -> Callable[[], bool]:
    """Return a check: does `url` answer 200?"""

    def check() -> bool:
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    return check


def _spawn(program: Program) -> Running:
    user = program.user or User(parent_death.SAME_USER, parent_death.SAME_USER)
    command = parent_death.wrap(
        program.command, death_signal=program.stop_signal, uid=user.uid, gid=user.gid
    )
    with program.log.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=program.environment,
            start_new_session=True,
        )


def _in_lasting_thread(spawn: Callable[[], Running]) -> Running:
    """Spawn from a thread that outlives every caller: a child dies with the *thread* that started it (prctl(2))."""
    answer: Future[Running] = Future()
    _spawner().put((spawn, answer))
    return answer.result()


@cache
def _spawner() -> queue.SimpleQueue[Order]:
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            spawn, answer = orders.get()
            try:
                answer.set_result(spawn())
            except OSError as error:
                answer.set_exception(error)

    threading.Thread(target=serve, name="spawner", daemon=True).start()
    return orders

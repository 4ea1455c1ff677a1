"""Start a program, wait until it is ready, stop it.

A child has its own session, so that Ctrl-C reaches only the parent, which stops its children in
order. It writes to a log file and, on Linux, dies with its parent even when that is killed.
`mirakuru` was considered: it knows neither the tie to the parent nor a change of user, and it
waits for a port or a URL only, so most of this module would remain beside it.
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
from sandbox.ports import claim_port

POLL_S = 0.01
LOG_LINES = 15
STOP_WITHIN_S = 10.0
Progress = Callable[[str], None]
Running = subprocess.Popen[bytes]
SpawnRequest = tuple[Callable[[], Running], Future[Running]]


@dataclass(frozen=True)
class User:
    """The user that a program runs as; only root can choose it."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """What to run.

    `environment` replaces the whole environment; None inherits it. `port` is the port that the
    program will listen on.
    """

    name: str
    command: Sequence[str]
    log: Path
    port: int | None = None
    environment: Mapping[str, str] | None = None
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = STOP_WITHIN_S


class Process:
    """A running program.

    Raises:
        PortTakenError: another program listens on its port.
    """

    def __init__(self, program: Program) -> None:
        if program.port is not None:
            claim_port(program.name, program.port)
        self.program = program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        self._popen = _call_in_spawner_thread(lambda: _spawn(program))

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, within_s: float) -> None:
        """Return once `ready()` is true.

        Raises:
            SandboxError: it ended first, or was not ready in time; holds the end of its log.
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
        """Raise SandboxError, with the end of the log, if the program has ended by itself."""
        if not self.alive:
            self._fail(f"stopped with status {self._popen.returncode}")

    def stop(self) -> None:
        """Send the stop signal; kill the program when it does not end in time."""
        if self.alive:
            self._popen.send_signal(self.program.stop_signal)
            try:
                self._popen.wait(self.program.stop_within_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill the program and what it started (SIGKILL to its process group)."""
        if self.alive:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def _fail(self, what: str) -> NoReturn:
        lines = self.program.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        tail = "\n".join(f"  | {line}" for line in lines) or "  | (it wrote nothing)"
        msg = f"{self.program.name} {what}. The end of {self.program.log}:\n{tail}"
        raise SandboxError(msg)


def responds_ok(url: str) -> bool:
    """Return whether a GET of `url` is answered 200."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


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


def _call_in_spawner_thread(spawn: Callable[[], Running]) -> Running:
    """Call `spawn` in a thread that never ends: a child dies with the thread that started it."""
    answer: Future[Running] = Future()
    _spawner_queue().put((spawn, answer))
    return answer.result()


@cache
def _spawner_queue() -> queue.SimpleQueue[SpawnRequest]:
    requests: queue.SimpleQueue[SpawnRequest] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            spawn, answer = requests.get()
            try:
                answer.set_result(spawn())
            except OSError as error:
                answer.set_exception(error)

    threading.Thread(target=serve, name="spawner", daemon=True).start()
    return requests

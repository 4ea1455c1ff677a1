"""A server of the local world: how each of them is launched, awaited, checked and stopped."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from sandbox.processes import Process, Program


class Service(ABC):
    """A server process. Its data survives stop, kill and restart.

    As a context manager it runs inside the block. `launch` and `wait` are apart so that several
    services can start at once.
    """

    ready_within_s: float = 30.0
    _process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def launch(self) -> None:
        """Start the process without waiting.

        Raises:
            PortTakenError: another program listens on its port.
            SandboxError: its program or its directory cannot be used.
        """
        self._process = Process(self._make_program())

    def wait(self) -> None:
        """Return once the service answers.

        Raises:
            SandboxError: it ended or was not ready in time; holds the end of its log.
        """
        if self._process:
            self._process.wait_until(self._answers, within_s=self.ready_within_s)

    def start(self) -> None:
        """Launch it and wait until it answers; on failure stop it again."""
        self.launch()
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise SandboxError if the process has ended by itself; before `launch` it returns."""
        if self._process:
            self._process.check()

    def stop(self) -> None:
        """Send its stop signal and wait until it has ended."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """Send SIGKILL, as a crash."""
        if self._process:
            self._process.kill()

    def restart(self) -> None:
        """Kill it and start it again on the same port and data."""
        self.kill()
        self.start()

    @abstractmethod
    def _make_program(self) -> Program:
        """Return what to run, with its directory prepared."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the running process answers."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

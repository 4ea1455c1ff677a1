"""Workers for the tests of the broker: in this process, and as programs that can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import redis
from dramatiq import Worker
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from shared.lanes.broker import LaneBroker

SOON_S = 30.0


def short_timeouts(url: str, *, retries: int = 3) -> "redis.Redis":
    """Return a client like that of `shared.redis.connect`, which fails within about a second."""
    retry = Retry(ConstantBackoff(0.05), retries)
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=retry)


@contextmanager
def working(broker: LaneBroker, *, threads: int = 4) -> Iterator[Worker]:
    worker = Worker(broker, worker_threads=threads, worker_timeout=100)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5_000)


def eventually(happened: Callable[[], object], within_s: float = SOON_S) -> float:
    """Wait until `happened()`; return after how many seconds.

    Raises:
        AssertionError: it did not.
    """
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < within_s, f"did not happen within {within_s} s"
        time.sleep(0.005)
    return time.monotonic() - began


def blocked_consumers(client: "redis.Redis") -> int:
    """Return how many consumers wait for a bell."""
    clients: Any = client.client_list()
    return sum(each["cmd"] == "blpop" for each in clients)


class WorkerProgram:
    """`dramatiq tests.shared.lanes.plain_app` as a program; its actor writes to `journal`."""

    def __init__(self, url: str, directory: Path, *, threads: int = 4, **environment: str) -> None:
        directory.mkdir(exist_ok=True)
        self.journal = directory / "journal"
        self.log = directory / "worker.log"
        env = os.environ | {
            "TEST_REDIS_URL": url,
            "TEST_JOURNAL": str(self.journal),
            "PYTHONPATH": str(Path.cwd()),
        }
        command = [sys.executable, "-m", "dramatiq", "tests.shared.lanes.plain_app"]
        command += ["--processes", "1", "--threads", str(threads)]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command, env=env | environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def terminate(self) -> int:
        """Ask it to end, and return its exit code."""
        self._popen.terminate()
        return self.wait()

    def wait(self, within_s: float = 30) -> int:
        return self._popen.wait(within_s)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen.poll() is None:
            self.kill()

"""Ends a worker process that makes no progress, for its supervisor to restart."""

import fcntl
import os
import stat
import sys
import termios
import threading
import time
from collections.abc import Callable

import structlog
from dramatiq import Broker, Middleware, Worker

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""
CHECKS = 12
LIMIT_S = 180.0
"""Longer than results are retried: they may be the only trace of a send."""

DRAIN_S = 1.0
"""How long the last log line may take to be read from the pipe to Dramatiq's main process."""

log = structlog.get_logger(__name__)


class Watchdog(Middleware):
    """Ends the process when `replies` (a counter of answers of Redis) stands still for `limit_s`.

    The process ends at once and hands nothing back. Its claims are taken over elsewhere. Time is
    counted in checks, so that a machine that slept is not taken for a silent Redis.
    """

    def __init__(
        self,
        replies: Callable[[], int],
        *,
        limit_s: float = LIMIT_S,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._replies = replies
        self._limit_s = limit_s
        self._exit_process = exit_process
        self._stopped = threading.Event()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        self._stopped.clear()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        self._stopped.set()

    def _watch(self) -> None:
        seen, still = self._replies(), 0
        while not self._stopped.wait(self._limit_s / CHECKS):
            now = self._replies()
            still = still + 1 if now == seen else 0
            seen = now
            if still >= CHECKS:
                log.critical(
                    "worker.stuck",
                    seconds=self._limit_s,
                    hint="no answer from Redis; exiting for a restart",
                )
                drain_log_pipe()
                self._exit_process(EXIT_CODE)
                return


def drain_log_pipe(within_s: float = DRAIN_S) -> None:
    """Wait until Dramatiq's main process has read the log lines of this worker process.

    The main process stops reading as soon as it notices that its worker process has ended.
    """
    descriptor = sys.stdout.fileno()
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    deadline = time.monotonic() + within_s
    while any(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))):  # the count of unread bytes
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)

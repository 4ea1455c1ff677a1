"""The pulse of a process: reports to Redis that it runs and makes progress, and what it counted.

A thread reports every few seconds, and publishes what happens for `wpp tail` within a second. While
Redis is away it keeps what it counted.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import redis

from shared import activity, metrics, processes, tail, transitions
from shared.redis.failover import FAILOVERS

REPORT_EVERY_S = 8.0
"""Twice within `SILENT_S`, and nearly thrice within `STALLED_S`."""
GATHER_S = 1.0
"""How long transitions gather, to be published together."""


def count_reconnect(cause: str) -> None:
    """Count that the connections of this process to Redis are replaced."""
    metrics.count("wpp_redis_reconnects_total", cause)


class Pulse:
    """`progress` grows while the process does its work; None: it cannot stand still.

    It reports inside a `with` block, or between `start` and `stop`.
    """

    def __init__(
        self,
        client: "redis.Redis",
        roles: Iterable[str],
        *,
        threads: int = 1,
        progress: Callable[[], int] | None = None,
    ) -> None:
        self._client = client
        self._roles = tuple(roles)
        self._threads = threads
        self._progress = progress
        self._seen: int | None = None
        self._report: processes.RunningProcess | None = None
        self._publisher = tail.TailPublisher(client, "+".join(self._roles))
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        transitions.add_listener(metrics.count_transition)
        transitions.add_listener(activity.count_transition)
        transitions.add_listener(self._hear)
        FAILOVERS.listeners.append(count_reconnect)
        self._thread.start()

    def stop(self) -> None:
        """Report the end, and what was counted until now."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(2 * GATHER_S)
        transitions.remove_listener(metrics.count_transition)
        transitions.remove_listener(activity.count_transition)
        transitions.remove_listener(self._hear)
        FAILOVERS.listeners.remove(count_reconnect)

    def report(self) -> processes.RunningProcess:
        """Report that the process runs, and whether it made progress; raises redis.RedisError."""
        last = self._report or processes.RunningProcess.of_this_process(
            self._roles, self._threads, 0
        )
        progress = self._progress() if self._progress else None
        moved = self._progress is None or progress != self._seen
        self._report = processes.beat(self._client, last, moved=moved)
        self._seen = progress
        return self._report

    def _hear(self, event: str, fields: Mapping[str, Any]) -> None:
        self._publisher.hear(event, fields)
        self._woken.set()

    def _run(self) -> None:
        report_s = time.monotonic()
        while True:
            if self._woken.wait(max(0.0, report_s - time.monotonic())):
                self._stopping.wait(max(0.0, min(GATHER_S, report_s - time.monotonic())))
            self._woken.clear()
            stopped = self._stopping.is_set()
            try:
                if stopped or time.monotonic() >= report_s:
                    report_s = time.monotonic() + REPORT_EVERY_S
                    at_ms = self.report().at_ms
                    metrics.flush(self._client)
                    activity.flush(self._client, at_ms)
                self._publisher.publish()
                if stopped and self._report:
                    processes.forget(self._client, self._report.name)
            except redis.RedisError:
                pass  # the work itself reports it; the next report tries again
            if stopped:
                return

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

"""Circuit breaker: stops calls to a platform that fails, and lets a probe find its recovery.

The breaker opens when at least half of 20 or more calls within about 10 s failed, or 5 connects in
a row. It stays open for 5 s. Each failed probe doubles that time, up to a minute. All processes
share the state through Redis (`circuit_breaker.lua`).

Cost: a process counts its successes in memory and reports them with its next read of the state, at
most once a second; it reports a failure at once. A healthy platform therefore costs a round trip
a second, and an idle process none. The breaker counts as closed while Redis does not answer.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import redis

from shared.errors import UnavailableError
from shared.redis import keys
from shared.redis.scripts import LuaScript

SCRIPT = LuaScript.from_package("shared.platform", "circuit_breaker.lua")
REPORT_INTERVAL_S = 1.0
PROBE_LEASE_S = 60.0
"""How long a probe may last; longer than the deadline of any call."""
BreakerStateName = Literal["closed", "open", "probe"]
STATES: dict[bytes, BreakerStateName] = {b"closed": "closed", b"open": "open", b"probe": "probe"}
LOCAL_FAILURES = (httpx.PoolTimeout, httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""Failures of this process: a full connection pool or a token that fits no header."""


@dataclass(frozen=True, slots=True)
class BreakerState:
    """`retry_after_s` is set while the breaker is open; "probe": the next call may test it."""

    name: BreakerStateName
    retry_after_s: float = 0.0


class BreakerCall:
    """A call that the breaker let through; reports its result once."""

    def __init__(self, report: Callable[[bool, bool], object]) -> None:
        self._send_report = report
        self.is_reported = False

    def succeeded(self) -> None:
        self._report(ok=True, reached=True)

    def failed(self, *, reached: bool = True) -> None:
        """Report a failure of the platform; `reached`: the connection was established."""
        self._report(ok=False, reached=reached)

    def _report(self, *, ok: bool, reached: bool) -> None:
        self.is_reported = True
        self._send_report(ok, reached)


class CircuitBreaker:
    """The breaker of the platform at `base_url`, for all threads of a process."""

    def __init__(
        self, client: "redis.Redis", base_url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._key = keys.circuit_breaker(urlsplit(base_url).netloc.rpartition("@")[2])
        self._clock = clock
        self._lock = threading.Lock()
        self._state = BreakerState("closed")
        self._read_at = -REPORT_INTERVAL_S
        self._unreported_successes = 0

    def state(self) -> BreakerState:
        """Return the state, at most a second old. Acquires no probe, so it suits planning."""
        with self._lock:
            age_s = self._clock() - self._read_at
            is_over = self._state.name == "open" and age_s >= self._state.retry_after_s
            if age_s < REPORT_INTERVAL_S and not is_over:
                left_s = max(0.0, self._state.retry_after_s - age_s)
                return BreakerState(self._state.name, left_s)
            self._read_at = self._clock()
            successes = self._take_successes()
        return self._run("report", successes, 0, 0, _jitter())

    def record(self, *, ok: bool, reached: bool = True) -> None:
        """Count the result of a call that was not made through `call`."""
        with self._lock:
            if ok:
                self._unreported_successes += 1
                return
            successes = self._take_successes()
        self._run("report", successes, 1, int(not reached), _jitter())

    @contextmanager
    def call(self) -> Iterator[BreakerCall]:
        """Let a call through and learn its result; a call that reports none is not counted.

        Raises:
            UnavailableError: the breaker is open; `retry_after_s` says for how long.
        """
        state = self.state()
        if state.name == "closed":
            yield BreakerCall(lambda ok, reached: self.record(ok=ok, reached=reached))
            return
        owner = uuid4().hex
        if state.name == "probe":
            state = self._run("acquire_probe", owner, int(PROBE_LEASE_S * 1000))
        if state.name == "open":
            msg = "The circuit breaker is open: the platform fails, calls wait for its recovery"
            raise UnavailableError(msg, retry_after_s=max(0.1, state.retry_after_s))
        call = BreakerCall(lambda ok, _reached: self._finish_probe(owner, str(int(ok))))
        try:
            yield call
        finally:
            if not call.is_reported:
                self._finish_probe(owner, "-")

    def _finish_probe(self, owner: str, result: str) -> None:
        self._run("finish_probe", owner, result, _jitter())

    def _take_successes(self) -> int:
        successes = self._unreported_successes
        self._unreported_successes = 0
        return successes

    def _run(self, operation: str, *arguments: str | float) -> BreakerState:
        try:
            name, ms = SCRIPT.run(self._client, [self._key], [operation, *arguments])
            name = name if isinstance(name, bytes) else name.encode()
            state = BreakerState(STATES[name], ms / 1000)
        except redis.RedisError:
            state = BreakerState("closed")
        with self._lock:
            self._state = state
            self._read_at = self._clock()
        return state


class CircuitBreakerTransport(httpx.BaseTransport):
    """Reports the result of each request to the breaker, and sends none while it is open.

    A 429 is an answer of a healthy platform. `LOCAL_FAILURES` say nothing about the platform.
    """

    def __init__(self, inner: httpx.BaseTransport, breaker: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = breaker

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._breaker.call() as call:
            try:
                response = self._inner.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                call.failed(reached=False)
                raise
            except LOCAL_FAILURES:
                raise
            except httpx.TransportError:
                call.failed()
                raise
            if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                call.failed()
            else:
                call.succeeded()
            return response

    def close(self) -> None:
        self._inner.close()


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing

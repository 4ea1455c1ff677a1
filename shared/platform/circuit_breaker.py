"""Circuit breaker: while a platform is in trouble its lanes wait, and one call at a time finds out whether it is back.

It opens when half of at least 20 calls within some 10 s failed, or 5 connects in a row; for 5 s, and for twice as long
each time that the probe fails, up to a minute. All processes share it through Redis (`circuit_breaker.lua`).

Cost: successes are counted here and told at most once a second, with the same round trip that learns the state; a
failure is told at once. So a healthy platform costs a process one round trip a second, however many calls it makes,
and none while it makes no calls. When Redis does not answer, the breaker counts as closed.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import redis

from shared.errors import UnavailableError

SCRIPT = files("shared.platform").joinpath("circuit_breaker.lua").read_text()
REPORT_INTERVAL_S = 1.0
PROBE_LEASE_S = 60.0
BreakerStateName = Literal["closed", "open", "probe"]
STATES: dict[bytes, BreakerStateName] = {b"closed": "closed", b"open": "open", b"probe": "probe"}


@dataclass(frozen=True, slots=True)
class BreakerState:
    """`retry_after_s` is set while open. "probe": the next call goes through, to find out."""

    name: BreakerStateName
    retry_after_s: float = 0.0


class BreakerCall:
    """One call that the breaker let through; says once how it went."""

    def __init__(self, tell: Callable[[bool, bool], object]) -> None:
        self._tell = tell
        self.told = False

    def succeeded(self) -> None:
        self._say(ok=True, reached=True)

    def failed(self, *, reached: bool = True) -> None:
        """It failed by the platform's fault; `reached`: there was a connection."""
        self._say(ok=False, reached=reached)

    def _say(self, *, ok: bool, reached: bool) -> None:
        self.told = True
        self._tell(ok, reached)


class CircuitBreaker:
    def __init__(
        self, client: "redis.Redis", base_url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._script = client.register_script(SCRIPT)
        self._key = f"wpp:breaker:{{{urlsplit(base_url).netloc.rpartition('@')[2]}}}"
        self._clock, self._lock = clock, threading.Lock()
        self._state, self._learned, self._unsaid = BreakerState("closed"), -REPORT_INTERVAL_S, 0

    def state(self) -> BreakerState:
        """Return whether calls go through, as of at most a second ago. Takes no probe: for whoever plans work."""
        with self._lock:
            age_s = self._clock() - self._learned
            if age_s < REPORT_INTERVAL_S and not (
                self._state.name == "open" and age_s >= self._state.retry_after_s
            ):
                return BreakerState(self._state.name, max(0.0, self._state.retry_after_s - age_s))
            self._learned, told = self._clock(), self._take_unsaid()
        return self._ask("tell", told, 0, 0, _jitter())

    def record(self, *, ok: bool, reached: bool = True) -> None:
        """Count one call that was not made through `call`."""
        if ok:
            with self._lock:
                self._unsaid += 1
            return
        with self._lock:
            told = self._take_unsaid()
        self._ask("tell", told, 1, int(not reached), _jitter())

    @contextmanager
    def call(self) -> Iterator[BreakerCall]:
        """Let one call through, and learn how it went. When it neither succeeded nor failed, it counts as nothing.

        Raises:
            UnavailableError: the breaker is open; says for how long.
        """
        state = self.state()
        if state.name == "closed":
            yield BreakerCall(lambda ok, reached: self.record(ok=ok, reached=reached))
            return
        owner = uuid4().hex
        if state.name == "probe":
            state = self._ask("take", owner, int(PROBE_LEASE_S * 1000))
        if state.name == "open":
            msg = "the platform is in trouble; calls wait until it answers again"
            raise UnavailableError(msg, retry_after_s=max(0.1, state.retry_after_s))
        call = BreakerCall(lambda ok, _reached: self._probed(owner, str(int(ok))))
        try:
            yield call
        finally:
            if not call.told:
                self._probed(owner, "-")

    def _probed(self, owner: str, how: str) -> None:
        self._ask("probed", owner, how, _jitter())

    def _take_unsaid(self) -> int:
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid

    def _ask(self, operation: str, *arguments: str | float) -> BreakerState:
        try:
            name, ms = self._script(keys=[self._key], args=[operation, *arguments])
            state = BreakerState(
                STATES[name if isinstance(name, bytes) else name.encode()], ms / 1000
            )
        except redis.RedisError:
            state = BreakerState("closed")
        with self._lock:
            self._state, self._learned = state, self._clock()
        return state


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing

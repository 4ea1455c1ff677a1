"""Retry policies: exponential backoff with jitter, and how long rejected rows are retried."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryCallState
from tenacity.wait import wait_base


@dataclass(frozen=True)
class Backoff(wait_base):
    """Waits a random part of a ceiling that doubles with each attempt.

    The ceiling is `base_s * 2 ** attempts`, at most `cap_s`; the wait is at least `floor` of it.
    A floor of 0 is full jitter: clients that failed together come back spread over time.
    """

    base_s: float = 0.5
    cap_s: float = 60.0
    floor: float = 0.2

    def after(self, attempts: int) -> float:
        """Return the seconds to wait after `attempts` failed attempts."""
        ceiling = min(self.cap_s, self.base_s * 2 ** min(attempts, 16))
        return random.uniform(ceiling * self.floor, ceiling)  # noqa: S311 - spreads load

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.after(retry_state.attempt_number)


EVENT_BACKOFF = Backoff()
"""Between two attempts at an event."""


class RejectionWindow:
    """How long rows that are all rejected for a reason are retried before they count as refused.

    The window opens with the first rejection for a reason and lasts `window_s`: the database may be
    at fault and be repaired meanwhile. For `memory_s` from its opening, further rows with the same
    reason count as refused without another wait.
    """

    def __init__(
        self,
        window_s: float = 300.0,
        memory_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_s = window_s
        self._memory_s = memory_s
        self._clock = clock
        self._opened: dict[str, float] = {}

    def has_passed(self, reason: str) -> bool:
        """Return whether the window of `reason` is over; the first call for a reason opens it."""
        now = self._clock()
        if now - self._opened.get(reason, -self._memory_s) >= self._memory_s:
            self._opened[reason] = now
        return now - self._opened[reason] >= self._window_s

"""Retry policy: exponential backoff with jitter, for postponed events and for tenacity."""

import random
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

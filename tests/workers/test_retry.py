"""Backoff grows with each attempt, stays within its bounds, and drives tenacity."""

import pytest
from tenacity import Retrying, stop_after_attempt

from workers.retry import EVENT_BACKOFF, Backoff


@pytest.mark.parametrize("attempts", [1, 5, 1000])
def test_an_event_never_waits_less_than_its_floor_or_more_than_a_minute(attempts: int) -> None:
    """The bounds hold for any number of attempts."""
    waits = [EVENT_BACKOFF.after(attempts) for _ in range(200)]
    assert min(waits) >= 0.2
    assert max(waits) <= 60


def test_full_jitter_spans_from_zero_to_a_ceiling_that_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base_s=0.2, cap_s=10, floor=0)
    for attempts in range(1, 40):
        ceiling = min(10.0, 0.2 * 2**attempts)
        waits = [backoff.after(attempts) for _ in range(300)]
        assert min(waits) >= 0
        assert max(waits) <= ceiling
        assert max(waits) > ceiling * 0.9
        assert min(waits) < ceiling * 0.1


def test_tenacity_waits_as_the_backoff_says() -> None:
    """A floor of 1 takes the chance out: 1, 2 and 3 failures wait for 2, 4 and 5 s."""
    slept: list[float] = []
    wait = Backoff(base_s=1, cap_s=5, floor=1)
    for attempt in Retrying(wait=wait, stop=stop_after_attempt(4), sleep=slept.append):
        with attempt:
            if attempt.retry_state.attempt_number < 4:
                raise ZeroDivisionError
    assert slept == [2, 4, 5]

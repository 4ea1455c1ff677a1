"""How long the current call may still take, by the wall clock, known to everything that it calls in this thread."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_end: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what runs inside `seconds`, or what the surrounding deadline leaves if that is less."""
    before = _end.set(min(_end.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _end.reset(before)


def remaining() -> float:
    """Return the seconds that are left: infinite without a deadline, zero or less after it."""
    return _end.get() - time.monotonic()

"""The deadline of the current call, for every function that it calls in its thread."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_end: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit the body to `seconds`, or to the rest of the surrounding deadline if that is less."""
    before = _end.set(min(_end.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _end.reset(before)


def remaining() -> float:
    """Return the seconds left: infinite without a deadline, zero or less after it."""
    return _end.get() - time.monotonic()

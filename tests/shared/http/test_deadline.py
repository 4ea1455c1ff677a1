"""Nested deadlines: the nearest end counts."""

import math
import threading

import pytest

from shared.http.deadline import remaining, within


def test_without_a_deadline_the_remaining_time_is_infinite() -> None:
    assert remaining() == math.inf


def test_the_nearer_deadline_counts() -> None:
    """An inner deadline never extends the outer deadline."""
    with within(10):
        assert remaining() == pytest.approx(10, abs=0.1)
        with within(1):
            assert remaining() == pytest.approx(1, abs=0.1)
        with within(60):
            assert remaining() == pytest.approx(10, abs=0.1)
    assert remaining() == math.inf


def test_a_passed_deadline_leaves_no_time() -> None:
    with within(-1):
        assert remaining() < 0


def test_a_deadline_applies_to_its_own_thread() -> None:
    """A new thread starts without a deadline."""
    found: list[float] = []
    with within(1):
        thread = threading.Thread(target=lambda: found.append(remaining()))
        thread.start()
        thread.join()
    assert found == [math.inf]

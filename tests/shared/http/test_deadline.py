"""Deadlines: the nearest one counts."""

import math
import threading

import pytest

from shared.http.deadline import remaining, within


def test_without_a_deadline_there_is_all_the_time() -> None:
    assert remaining() == math.inf


def test_the_nearer_deadline_counts() -> None:
    """What runs inside gets no more time than what runs around it."""
    with within(10):
        assert remaining() == pytest.approx(10, abs=0.1)
        with within(1):
            assert remaining() == pytest.approx(1, abs=0.1)
        with within(60):
            assert remaining() == pytest.approx(10, abs=0.1)
    assert remaining() == math.inf


def test_a_deadline_that_has_passed_leaves_nothing() -> None:
    with within(-1):
        assert remaining() < 0


def test_another_thread_has_its_own() -> None:
    """A deadline is of the call in this thread."""
    found: list[float] = []
    with within(1):
        thread = threading.Thread(target=lambda: found.append(remaining()))
        thread.start()
        thread.join()
    assert found == [math.inf]

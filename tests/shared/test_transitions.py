"""Transitions: a log line at the right level, and a call of each listener."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import structlog

from shared import transitions


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    """Return what a listener of this process hears."""
    calls: list[tuple[str, Mapping[str, Any]]] = []

    def listen(event: str, fields: Mapping[str, Any]) -> None:
        calls.append((event, fields))

    transitions.add_listener(listen)
    yield calls
    transitions.remove_listener(listen)


def test_a_transition_is_logged_at_its_level_without_empty_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with structlog.testing.capture_logs() as lines:
        transitions.tell("number.down", account="a", reason="unlinked", error=None)
        transitions.tell("number.up", account="a")
    assert lines == [
        {"event": "number.down", "log_level": "warning", "account": "a", "reason": "unlinked"},
        {"event": "number.up", "log_level": "info", "account": "a"},
    ]


def test_a_listener_hears_what_the_log_leaves_out(
    caplog: pytest.LogCaptureFixture, heard: list[tuple[str, Mapping[str, Any]]]
) -> None:
    caplog.set_level("INFO")
    with structlog.testing.capture_logs() as lines:
        transitions.tell("message.sent", event_id="1", code=None)
    assert lines == []
    assert heard == [("message.sent", {"event_id": "1"})]

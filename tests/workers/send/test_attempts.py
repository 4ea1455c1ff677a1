"""The attempts of a message stand in the outcomes of its results."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from shared.events import SendEvent, utc_now
from shared.lanes.types import Claim, Postponed, Settled
from shared.outcomes import MessageOutcome
from shared.routing import build_message_outcome
from workers.send.attempts import MAX_NOTED, note_attempt

BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_event() -> SendEvent:
    return SendEvent(
        id=uuid4(), organization_id=uuid4(), integration_id=uuid4(), to="79990001122", text="Hello"
    )


def make_claim(event: SendEvent, attempts: int) -> Claim:
    return Claim("send", event.id, "send:1", "1", attempts, 0, 0, 0, b"", "")


def note(result: Any, attempts: int, event: SendEvent | None = None) -> list[MessageOutcome]:
    event = event or make_event()
    noted = note_attempt(event, make_claim(event, attempts), BEGAN, result)
    assert type(noted) is type(result)
    return [each for each in noted.outcomes if isinstance(each, MessageOutcome)]


@pytest.mark.parametrize("attempts", [1, MAX_NOTED])
def test_a_message_that_is_postponed_tells_its_attempt(attempts: int) -> None:
    (outcome,) = note(Postponed(5, "refused: 429"), attempts)
    assert (outcome.event, outcome.status, outcome.error) == ("attempt", "queued", "refused: 429")
    assert (outcome.attempt, outcome.started_at) == (attempts, BEGAN)


def test_further_attempts_are_not_listed() -> None:
    assert note(Postponed(5, "refused: 429"), MAX_NOTED + 1) == []


def test_the_attempt_that_ends_a_message_is_always_told() -> None:
    event = make_event()
    sent = build_message_outcome(event, "sent", utc_now())
    (outcome,) = note(Settled("sent", [sent]), MAX_NOTED + 1, event)
    assert (outcome.event, outcome.status) == (None, "sent")
    assert (outcome.attempt, outcome.started_at) == (MAX_NOTED + 1, BEGAN)

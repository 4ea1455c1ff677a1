"""The words of the field for a session's state, and what to do about a lost session."""

from datetime import timedelta
from typing import Any, get_args

import pytest

from shared.outcomes import SessionOutcome
from shared.webhooks.sessions import (
    ADVICE,
    EVENT_OF_MEANING,
    SESSION_WORDS,
    STATUS_OF_EVENT,
    SessionMeaning,
)
from tests.shared.webhooks.webhook_events import ACCEPTED, ACCOUNT, classify, interpret


def session(payload: dict[str, Any]) -> SessionOutcome | None:
    made = interpret(payload)[1][:-1]
    assert len(made) <= 1
    outcome = made[0] if made else None
    assert outcome is None or isinstance(outcome, SessionOutcome)
    return outcome


@pytest.mark.parametrize("word", SESSION_WORDS)
def test_every_word_is_read_as_the_value_of_a_state(word: str) -> None:
    """In WPPConnect's, in WAHA's and in Baileys' event."""
    status = STATUS_OF_EVENT.get(EVENT_OF_MEANING[SESSION_WORDS[word]])
    for payload in (
        {"event": "status-find", "session": "s", "status": word},
        {"event": "session.status", "session": "s", "payload": {"status": word.upper()}},
        {"type": "connection.update", "account": ACCOUNT, "data": {"state": word}},
    ):
        found = session(payload)
        assert (found.status if found else None) == status


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"event": "status-find", "status": "desconnectedMobile"}, "disconnected"),
        ({"event": "closesession", "message": "Session closed"}, "disconnected"),
        ({"event": "logoutsession", "message": "Session logged out"}, "disconnected"),
        ({"event": "onstatechange", "state": "UNPAIRED_IDLE"}, "disconnected"),
        ({"type": "session.status", "status": "SCAN_QR_CODE"}, "disconnected"),
        ({"type": "session.status", "status": "FAILED"}, "error"),
        ({"type": "session.status", "status": "WORKING"}, "connected"),
        ({"type": "auth_failure"}, "error"),
        ({"type": "TOS_BLOCK"}, "error"),
        ({"type": "LoggedOut"}, "disconnected"),
        ({"type": "StreamReplaced"}, "disconnected"),
        ({"type": "disconnected", "reason": "CONFLICT"}, "disconnected"),
        ({"type": "connection.update", "state": "close", "statusReason": 403}, "error"),
        ({"type": "connection.update", "connection": "open"}, "connected"),
        ({"type": "connection.update", "connection": "connecting"}, None),
        ({"type": "session.status", "status": "teleported"}, None),
        ({"type": "error", "message": "something else"}, None),
    ],
    ids=str,
)
def test_the_events_of_the_field(payload: dict[str, Any], status: str | None) -> None:
    found = session(payload | {"account": ACCOUNT})
    assert (found.status if found else None) == status


@pytest.mark.parametrize(
    ("payload", "meaning"),
    [
        ({"type": "logout"}, "unlinked"),
        ({"type": "disconnected", "reason": "LOGOUT"}, "unlinked"),
        ({"type": "disconnected", "reason": "CONFLICT"}, "elsewhere"),
        (
            {
                "type": "connection.update",
                "connection": "close",
                "lastDisconnect": {"error": {"output": {"statusCode": 401}}},
            },
            "unlinked",
        ),
        ({"type": "connection.update", "state": "close", "statusReason": 440}, "elsewhere"),
        ({"type": "session.status", "status": "FAILED"}, "failed"),
        ({"type": "session.status", "status": "TOS_BLOCK"}, "blocked"),
    ],
)
def test_a_lost_session_says_what_to_do(payload: dict[str, Any], meaning: SessionMeaning) -> None:
    found = session(payload)
    assert found
    assert found.reason.endswith(ADVICE[meaning])
    assert len(found.reason) > len(ADVICE[meaning]) + 3, "the platform's word as well"


def test_every_meaning_has_an_event() -> None:
    assert set(EVENT_OF_MEANING) == set(get_args(SessionMeaning)) == set(SESSION_WORDS.values())


@pytest.mark.parametrize("fields", [{"text": "ready"}, {"from": "+79990001122"}, {"id": "M1"}])
def test_an_event_about_a_message_is_no_state(fields: dict[str, Any]) -> None:
    assert session({"type": "status", "status": "conflict", **fields}) is None


@pytest.mark.parametrize(
    "payload", [{"type": "qr", "qr": "2@A"}, {"type": "offline"}, {"type": "connected"}]
)
@pytest.mark.parametrize(("late_s", "counts_from_arrival"), [(0, True), (5, True), (300, False)])
def test_a_state_that_comes_late_counts_from_when_it_was_made(
    payload: dict[str, Any],
    late_s: int,
    counts_from_arrival: bool,  # noqa: FBT001
) -> None:
    """So an old code does not undo a later `connected`."""
    made = ACCEPTED - timedelta(seconds=late_s)
    event = {"id": "evt_1", "created": int(made.timestamp()), **payload}
    assert classify(event).at == (ACCEPTED if counts_from_arrival else made)

"""Events as clients get them: ids, filters, the JSON."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from shared.feed import EVENT_TYPES, EventFilter, FeedEvent, FeedPage, format_id, parse_id
from shared.outcomes import MessageStatus, SessionStatus

NUMBER = "00000000-0000-4000-8000-000000000001"


def event(kind: str = "message.sent", **data: Any) -> FeedEvent:
    return FeedEvent(id=7, type=kind, timestamp=datetime(2026, 11, 29, tzinfo=UTC), data=data)


def test_every_status_of_a_message_and_state_of_a_number_has_a_type() -> None:
    expected = {f"message.{each}" for each in get_args(MessageStatus)}
    expected |= {f"number.{each}" for each in get_args(SessionStatus)}
    assert expected <= set(EVENT_TYPES)


def test_an_id_can_be_given_back() -> None:
    assert parse_id(format_id(1234)) == 1234


@pytest.mark.parametrize(
    "text", ["", "1", "evt_", "evt_-1", "evt_1x", "EVT_1", "evt_1 ", "evt_٣", "evt_" + "9" * 19]
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="evt_1234"):
        parse_id(text)


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        (EventFilter(), True),
        (EventFilter(("message.sent",)), True),
        (EventFilter(("message.*", "number.error")), True),
        (EventFilter(("number.*",)), False),
        (EventFilter(("message.read",)), False),
        (EventFilter(integration_id=NUMBER), True),
        (EventFilter(integration_id="another"), False),
        (EventFilter(phone="79990001122"), True),
        (EventFilter(("message.sent",), NUMBER, "79990003344"), False),
    ],
    ids=str,
)
def test_a_filter_allows_what_all_its_fields_allow(wanted: EventFilter, allowed: bool) -> None:  # noqa: FBT001
    found = event(integration_id=NUMBER, phone="79990001122")
    assert wanted.allows(found) is allowed


def test_the_json_has_the_fields_of_standard_webhooks() -> None:
    """`type`, `timestamp`, `data`, and the id that streams resume after."""
    assert json.loads(event(text="Hi").json_text) == {
        "id": "evt_7",
        "type": "message.sent",
        "timestamp": "2026-11-29T00:00:00+00:00",
        "data": {"text": "Hi"},
    }


@pytest.mark.parametrize(("position", "is_gap"), [(4, True), (5, False), (9, False), (10, True)])
def test_a_position_outside_of_what_is_stored_has_a_gap(position: int, is_gap: bool) -> None:  # noqa: FBT001
    """Too old, or of another database."""
    page = FeedPage(events=[], last=9, floor=5, more=False)
    assert page.is_gap_after(position) is is_gap

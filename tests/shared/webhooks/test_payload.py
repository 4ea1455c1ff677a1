"""Bodies are split into events that can be stored, or refused with a reason."""

import json
from typing import Any

import pytest

from shared.webhooks.payload import MAX_DEPTH, TooManyEventsError, parse_payload, split_body

ONE, TWO = {"type": "chat", "text": "one"}, {"type": "chat", "text": "two"}


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (ONE, [ONE]),
        ([ONE, TWO], [ONE, TWO]),
        ([], []),
        ({}, [{}]),
        ({"events": [ONE, TWO]}, [ONE, TWO]),
        ({"account": "42", "events": [ONE]}, [{"account": "42"} | ONE]),
        ({"type": "x", "data": []}, [{"type": "x", "data": []}]),
        ({"type": "x", "data": [1]}, [{"type": "x", "data": [1]}]),
    ],
)
def test_a_body_is_one_event_or_several(body: Any, events: list[dict[str, Any]]) -> None:
    assert split_body(body) == events


def test_events_of_one_envelope_have_ids_of_their_own() -> None:
    body = {
        "id": "evt_{1}",
        "type": "message.incoming",
        "data": [ONE, TWO],
        "signature": "x" * 1000,
    }
    assert split_body(body) == [
        {"id": "evt_{1}#0", "type": "message.incoming", "data": ONE},
        {"id": "evt_{1}#1", "type": "message.incoming", "data": TWO},
    ]


@pytest.mark.parametrize("body", [None, 1, "text", True, [ONE, 2], [[ONE]]])
def test_a_body_without_objects_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        split_body(body)


@pytest.mark.parametrize(
    "body",
    [
        [ONE] * 4,
        {"events": [ONE] * 4},
        {"data": [ONE] * 4},
        {"events": [{"data": [ONE] * 2}] * 2},
        [{"events": [ONE] * 2}] * 2,
    ],
)
def test_the_number_of_events_is_limited(body: object) -> None:
    """In whichever envelope they come."""
    assert split_body(body, max_events=4)
    with pytest.raises(TooManyEventsError, match="at most 3"):
        split_body(body, max_events=3)


def test_a_body_nested_too_deeply_is_refused() -> None:
    body: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        body = {"data": body}
    with pytest.raises(ValueError, match="nested deeper"):
        split_body(body)


def test_values_that_postgres_cannot_store_are_replaced() -> None:
    body = json.loads(
        '{"a\\u0000": "x\\u0000y", "b": ["\\ud800", "\\ud83d\\ude00"], "c": 1e999, "d": -1e999}'
    )
    body["e"] = 10**40
    assert split_body(body) == [
        {"a\ufffd": "x\ufffdy", "b": ["\ufffd", "😀"], "c": None, "d": None, "e": 1e40}
    ]


def test_a_list_does_not_copy_large_fields() -> None:
    """Copies of a large shared field would exceed any limit on bodies."""
    events = split_body(
        {"padding": "x" * 100_000, "account": "x" * 100_000, "events": [ONE] * 1000}
    )
    assert len(events) == 1000
    assert all(event == ONE for event in events)


@pytest.mark.parametrize(
    ("payload", "word", "event_id"),
    [
        ({"type": "chat", "from": "1", "text": "x", "id": "M1"}, "chat", None),
        ({"type": "chat", "from": "1", "text": "x", "id": "evt_1"}, "chat", "evt_1"),
        ({"id": "evt_1", "type": "message", "data": {"id": "M1"}}, "message", "evt_1"),
        ({"event": "qr"}, "qr", None),
        ({"data": {"type": "qr"}}, "qr", None),
        ({}, "unknown", None),
    ],
)
def test_the_type_and_id_of_an_event_are_told_from_its_message(
    payload: dict[str, Any], word: str, event_id: str | None
) -> None:
    parsed = parse_payload(payload)
    assert (parsed.type, parsed.event_id) == (word, event_id)

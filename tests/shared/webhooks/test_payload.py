"""An event is parsed in each of its envelopes."""

from typing import Any

import pytest

from shared.webhooks.payload import parse_payload


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

"""Properties: any JSON is interpreted without an error."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared import webhooks
from shared.outcomes import AnyOutcome, LogOutcome, MessageOutcome
from shared.phones import E164_DIGITS
from shared.webhooks.attachments import find_attachment
from shared.webhooks.payload import parse_payload
from shared.webhooks.redact import MAX_BYTES
from shared.webhooks.vocabulary import EVENT_TYPES
from tests.shared.webhooks.corpus_files import load_corpus
from tests.shared.webhooks.webhook_events import identity, interpret

UNHURRIED = settings(deadline=None)
"""A busy machine is no failure of the code under test."""

OUTCOME: TypeAdapter[Any] = TypeAdapter(AnyOutcome)

NAMES = st.sampled_from(
    [
        *(
            "account",
            "from",
            "raw_from",
            "to",
            "chatId",
            "sender",
            "pushname",
            "notifyName",
            "session",
            "isGroup",
        ),
        *(
            "type",
            "event",
            "timestamp",
            "created",
            "data",
            "events",
            "fromMe",
            "status",
            "ack",
            "reason",
            "error",
        ),
        *(
            "id",
            "messageId",
            "taskId",
            "waMessageId",
            "msgId",
            "messageIds",
            "emoji",
            "reaction",
            "qr",
        ),
        *(
            "text",
            "body",
            "caption",
            "media",
            "base64",
            "url",
            "mimetype",
            "filename",
            "location",
            "lat",
            "lng",
        ),
        *("vcard", "contacts"),
    ]
)
WORDS = st.sampled_from(
    [
        *sorted(EVENT_TYPES),
        *(
            "+79990001122",
            "79990001122@c.us",
            "1@g.us",
            "123456789012345@lid",
            "@",
            "evt_1",
            "true_7999@c.us_3EB0",
        ),
        *(
            "true_79990001122@c.us_3EB0AA11",
            "data:image/png;base64,AAAA",
            "BEGIN:VCARD\nFN:x",
            "[Image]",
            "http://[::1",
        ),
        *(
            "https://media.example/x.png?sig=1",
            "../../x\u202e.svg",
            "1770000000",
            "-1",
            "4",
            "\x00",
            "A" * 300,
        ),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
BODIES = [case["body"] for case in load_corpus().values()]


def _changed(
    body: dict[str, Any], outside: dict[str, Any], inside: dict[str, Any]
) -> dict[str, Any]:
    data = body.get("data")
    return body | outside | ({"data": data | inside} if isinstance(data, dict) else {})


CHANGES = st.dictionaries(NAMES | st.text(max_size=3), JSON, max_size=3)
PAYLOADS = st.builds(
    _changed, st.sampled_from([body for body in BODIES if isinstance(body, dict)]), CHANGES, CHANGES
)
"""Events of the corpus with wrong values in any field."""


@UNHURRIED
@given(PAYLOADS)
@example({"type": "document", "from": "+79990001122", "media": {"url": "http://[::1"}})
@example({"type": "chat", "from": "+79990001122", "text": "\ud800", "\udfff": 1})
@example(
    {
        "type": "chat",
        "from": "+79990001122",
        "text": 10**400,
        "timestamp": float("inf"),
        "x": 10**30,
    }
)
@example({"type": "location", "from": "+79990001122", "lat": float("nan"), "lng": 1})
def test_any_object_is_interpreted_and_its_outcomes_survive_json(payload: dict[str, Any]) -> None:
    for event in webhooks.split_body(payload).events:
        classified, outcomes = interpret(event)
        assert isinstance(outcomes[-1], LogOutcome)
        assert classified.peer is None or E164_DIGITS.fullmatch(classified.peer)
        for outcome in outcomes:
            assert OUTCOME.validate_json(outcome.model_dump_json()) == outcome
            assert "\\u0000" not in outcome.model_dump_json()
        find_attachment(parse_payload(event).fields)


@UNHURRIED
@given(PAYLOADS)
def test_an_event_of_an_unrecognized_type_is_unknown(payload: dict[str, Any]) -> None:
    without_sender = dict.fromkeys(("event", "from", "raw_from", "chatId", "data", "events"))
    for event in webhooks.split_body(payload | without_sender | {"type": "novelty"}).events:
        assert interpret(event)[0].type == "unknown"


@UNHURRIED
@given(PAYLOADS)
def test_a_message_always_has_a_peer_and_a_text_or_a_file(payload: dict[str, Any]) -> None:
    message = {"type": "chat", "from": "+79990001122", "text": ""} | payload
    for event in webhooks.split_body(message).events:
        for outcome in interpret(event)[1]:
            if isinstance(outcome, MessageOutcome):
                is_named = outcome.lid or "sender" in outcome.metadata
                assert E164_DIGITS.fullmatch(outcome.phone) or is_named
                assert outcome.text.strip() or outcome.file_name


@UNHURRIED
@given(PAYLOADS)
def test_an_identity_is_stable(payload: dict[str, Any]) -> None:
    for event in webhooks.split_body(payload).events:
        copied = json.loads(json.dumps(dict(reversed(event.items()))))
        assert identity(event) == identity(copied)


@UNHURRIED
@given(st.lists(PAYLOADS | LEAVES, max_size=3) | LEAVES)
def test_a_body_is_split_or_refused_with_a_reason(body: object) -> None:
    items = body if isinstance(body, list) else [body]
    if not items or any(isinstance(event, dict) for event in items):
        assert all(isinstance(event, dict) for event in webhooks.split_body(body).events)
    else:
        with pytest.raises(ValueError, match="JSON object"):
            webhooks.split_body(body)


@pytest.mark.parametrize(
    ("depth", "width", "length"), [(1, 1, 200_000), (1, 400, 9000), (4, 400, 600), (12, 2, 60)]
)
def test_a_log_entry_has_a_maximum_size(depth: int, width: int, length: int) -> None:
    payload: Any = {f"field{place}": "жизнь " * (length // 6) for place in range(width)}
    for _ in range(depth):
        payload = {"inner": [payload, payload]}
    log = interpret(payload)[1][-1]
    assert isinstance(log, LogOutcome)
    assert len(json.dumps(log.payload)) <= MAX_BYTES

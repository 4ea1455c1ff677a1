"""Bodies are split into events that can be stored, or refused with a reason."""

import json
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.webhooks.bodies import MAX_DEPTH, TOKEN, TooManyEventsError, parse_json, split_body


def nest(depth: int) -> dict[str, Any]:
    """Return an object that is nested in `depth` further objects."""
    body: dict[str, Any] = {}
    for _ in range(depth):
        body = {"data": body}
    return body


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
    assert split_body(body) == (events, [])


def test_events_of_one_envelope_have_ids_of_their_own() -> None:
    body = {
        "id": "evt_{1}",
        "type": "message.incoming",
        "data": [ONE, TWO],
        "signature": "x" * 1000,
    }
    assert split_body(body).events == [
        {"id": "evt_{1}#0", "type": "message.incoming", "data": ONE},
        {"id": "evt_{1}#1", "type": "message.incoming", "data": TWO},
    ]


@pytest.mark.parametrize("body", [None, 1, "text", True, [2], [[ONE]], [None, None]])
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
    assert len(split_body(body, max_events=4).events) == 4
    with pytest.raises(TooManyEventsError, match="at most 3"):
        split_body(body, max_events=3)


def test_a_body_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="nested deeper"):
        split_body(nest(MAX_DEPTH + 1))


@pytest.mark.parametrize("bad", [None, 2, "x", [ONE], nest(MAX_DEPTH + 1)])
@pytest.mark.parametrize("envelope", ["list", "events", "data", "messages"])
def test_a_bad_item_of_a_list_goes_alone(bad: object, envelope: str) -> None:
    """The others are kept, in whichever envelope they come."""
    items = [ONE, bad, TWO]
    body: Any = {
        "list": items,
        "events": {"events": items},
        "data": {"data": items},
        "messages": {"data": {"messages": items}},
    }[envelope]
    events, refused = split_body(body)
    assert [event.get("data", event) for event in events] == [ONE, TWO]
    assert len(refused) == 1


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_an_item_too_deep_for_the_parser_goes_alone(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = f'{{"x": {opening * 5000}1{closing * 5000}, "text": "]}}"}}'
    body = f"[{json.dumps(ONE)}, {deep}, {json.dumps({'text': '[[['})}]"
    events, refused = split_body(parse_json(body.encode()))
    assert (events, len(refused)) == ([ONE, {"text": "[[["}], 1)


@pytest.mark.parametrize("body", [b"[" * 5000, b"[" * 5000 + b"]" * 4999, b'{"a":' * 5000])
def test_a_broken_body_that_is_too_deep_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        split_body(parse_json(body))


def test_a_body_of_meta_is_split_into_its_messages_and_statuses() -> None:
    value: dict[str, Any] = {
        "contacts": [{"wa_id": "79990001122", "profile": {"name": "Anna"}}],
        "messages": [{"from": "79990001122", "id": "wamid.1", "type": "text"}],
        "statuses": [{"id": "wamid.2", "status": "read"}],
    }
    body = {"object": "whatsapp_business_account", "entry": [{"changes": [{"value": value}]}]}
    message, status = split_body(body).events
    assert message["data"] == {**value["messages"][0], "pushName": "Anna"}
    assert (status["type"], status["data"]["status"]) == ("message.status", "read")


def test_values_that_postgres_cannot_store_are_replaced() -> None:
    body = json.loads(
        '{"a\\u0000": "x\\u0000y", "b": ["\\ud800", "\\ud83d\\ude00"], "c": 1e999, "d": -1e999}'
    )
    body["e"] = 10**40
    assert split_body(body).events == [
        {"a\ufffd": "x\ufffdy", "b": ["\ufffd", "😀"], "c": None, "d": None, "e": 1e40}
    ]


def test_a_list_does_not_copy_large_fields() -> None:
    """Copies of a large shared field would exceed any limit on bodies."""
    events = split_body(
        {"padding": "x" * 100_000, "account": "x" * 100_000, "events": [ONE] * 1000}
    ).events
    assert len(events) == 1000
    assert all(event == ONE for event in events)


@pytest.mark.parametrize("text", [b'"\\"\\"', b'"', b"\\", b'"\\', b'\\"', b'"a', b'"]['])
def test_a_text_without_an_end_is_examined_quickly(text: bytes) -> None:
    """Behind brackets too deep for the parser, in the process that answers every sender."""
    body = b"[" * 3000 + b'"' + text * (1_000_000 // len(text))
    began = time.thread_time()
    with suppress(ValueError):
        parse_json(body)
    assert time.thread_time() - began < 1


VALUES = st.recursive(
    st.none() | st.integers() | st.text('"\\[]{}:,aя\n\ud83d', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\]{a'), inner, max_size=4)
    ),
)


@given(value=VALUES, ascii_only=st.booleans())
def test_a_deep_list_keeps_every_value_beside_it(value: Any, *, ascii_only: bool) -> None:
    """Texts with quotes, backslashes and brackets included: the former pattern is the measure."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    former = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
    assert TOKEN.findall(body) == former.findall(body)
    deep = b"[" * 3000 + b"]" * 3000
    assert parse_json(b"[%s,%s,%s]" % (body, deep, body))[::2] == [value, value]


def test_a_deep_body_in_another_encoding_is_refused() -> None:
    """Half of a character may be the byte of a quote."""
    for text in ("", "\u2241"):
        with suppress(ValueError):
            parse_json(f'["{text}", {"[" * 50_000}{"]" * 50_000}]'.encode("utf-16-le"))

"""Hostile bodies give neither a 500 nor an unintended row."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import routing, webhooks
from shared.events import utc_now
from shared.outcomes import MessageOutcome
from shared.redis import keys
from shared.webhooks.message_ids import parse_key
from tests.fixtures.ingress_process import IngressProcess
from tests.pipeline.inbound.corpus import iterate_bodies
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline
from tests.shared.webhooks.webhook_events import ACCOUNT, classify, route

NAMES = (
    *(
        "id",
        "type",
        "event",
        "created",
        "data",
        "account",
        "from",
        "to",
        "raw_from",
        "chatId",
        "text",
        "body",
        "media",
    ),
    *(
        "fromMe",
        "status",
        "ack",
        "messageId",
        "taskId",
        "waMessageId",
        "timestamp",
        "qr",
        "events",
        "mimetype",
        "base64",
    ),
    *(
        "url",
        "filename",
        "emoji",
        "location",
        "lat",
        "lng",
        "vcard",
        "session",
        "reason",
        "messageIds",
        "sender",
    ),
)
WORDS = (
    "chat",
    "image",
    "qr",
    "connected",
    "delivery",
    "message.status",
    "reaction",
    "message.edited",
    "ptt",
    "read",
)
ODD = (
    "\x00",
    "\ud800",
    "9" * 400,
    "+79990001122",
    "120363@g.us",
    "status@broadcast",
    "1@lid",
    "http://127.0.0.1/",
    "../..",
)
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from((*WORDS, *ODD))
)
EVENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=15,
)
BODIES = list(iterate_bodies(ACCOUNT))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a real body with some bytes changed, removed or doubled."""
    body = bytearray(json.dumps(draw(st.sampled_from(BODIES))).encode())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


def as_json(event: Any) -> bytes:
    return json.dumps(event).encode()


@given(body=mutated() | EVENTS.map(as_json) | st.binary(max_size=200))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_body_is_answered_with_500(ingress: IngressProcess, body: bytes) -> None:
    """A body is accepted (200) or malformed (400)."""
    assert ingress.post(body).status in {200, 400}


@pytest.fixture
def posted() -> list[MessageOutcome]:
    """Return the messages posted within a test; its examples share the pipeline."""
    return []


def messages_in(event: dict[str, Any], account: str) -> Iterator[MessageOutcome]:
    """Yield the messages in an accepted body, as the pure functions read them."""
    for payload in webhooks.split_body(json.loads(as_json(event))).events:
        classified = classify(payload, account, utc_now())
        outcomes = webhooks.build_outcomes(classified, route(payload, account).id)
        yield from (outcome for outcome in outcomes if isinstance(outcome, MessageOutcome))


REAL = st.sampled_from([body for body in BODIES if isinstance(body, dict)])
CHANGED = st.builds(
    lambda body, change: body | change,
    REAL,
    st.dictionaries(st.sampled_from(NAMES), LEAVES, max_size=2),
)


@given(
    events=st.lists(
        CHANGED | st.dictionaries(st.sampled_from(NAMES), EVENTS, max_size=6),
        min_size=5,
        max_size=20,
    )
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_event_affects_the_events_behind_it(
    pipeline: InboundPipeline,
    ingress: IngressProcess,
    posted: list[MessageOutcome],
    events: list[dict[str, Any]],
) -> None:
    """Every event is logged, filed or parked, without a dead letter and without a foreign row."""
    last = {
        "type": "chat",
        "from": "+79990009988",
        "text": "the last one",
        "messageId": f"M{len(posted)}",
    }
    for event in (
        *(json.loads(json.dumps(event).replace(ACCOUNT, pipeline.account)) for event in events),
        last,
    ):
        answer = ingress.post(as_json(event), ingress.webhook_path(pipeline.account))
        assert answer.status in {200, 400}
        if answer.status == 200:
            posted.extend(messages_in(event, pipeline.account))
    pipeline.settle()
    assert pipeline.redis.hgetall(keys.waiting("webhook")) == {}
    assert pipeline.env.sql("select * from wpp_dead_letters") == []
    rows = pipeline.messages()
    told = {(each.outgoing, each.phone, each.text) for each in posted}
    assert [row for row in rows if not told & spell_row(row)] == []
    assert len(rows) <= len(posted)
    named = {parse_key(each.wa_message_id).key for each in posted if each.wa_message_id}
    known = pipeline.env.sql(
        "select external_id from wpp_message_ids where account = %s", pipeline.account
    )
    assert named <= {row["external_id"] for row in known}
    assert pipeline.messages(message_text="the last one")


def spell_row(row: dict[str, Any]) -> set[tuple[bool, str, str]]:
    """Return direction, phone and first text of a row, in each form in which they were posted.

    The phone of a hidden id may come from another event, and a refused file leaves a label.
    """
    metadata = row["metadata"]
    text = metadata.get("original_text", row["message_text"])
    phones = {metadata.get("phone", ""), *([""] if "chat" in metadata else [])}
    texts = {text, *([""] if metadata.get("media_state") == "refused" else [])}
    return {(row["is_outgoing"], phone, each) for phone in phones for each in texts}


HOSTILE: dict[str, Any] = {
    "another account's event": {
        "account": "0000000000099",
        "type": "chat",
        "from": "+79990001122",
        "text": "x",
    },
    "another account's session": {"type": "connected", "data": {"account": "0000000000099"}},
    "another account's status": {
        "type": "delivery",
        "account": "0000000000099",
        "messageId": "task_77",
        "status": "read",
    },
    "a group": {"type": "chat", "from": "120363012345678901@g.us", "text": "x"},
    "a story": {"type": "chat", "from": "status@broadcast", "text": "x"},
    "WhatsApp itself": {"type": "chat", "from": "0@c.us", "text": "x"},
    "an empty sender": {"type": "chat", "from": "", "text": "x"},
    "a short sender": {"type": "chat", "from": "0", "text": "x"},
    "a status that does not exist": {
        "type": "delivery",
        "messageId": "task_77",
        "status": "'; drop table clients; --",
    },
}


@pytest.mark.parametrize("what", HOSTILE)
def test_defect_23_43_hostile_events_make_no_row(
    pipeline: InboundPipeline, ingress: IngressProcess, what: str
) -> None:
    """The log alone has the event: no contact, message or session."""
    assert ingress.post(HOSTILE[what], ingress.webhook_path(pipeline.account)).status == 200
    pipeline.settle()
    for table in ("chat_messages", "clients", "wpp.parked_outcomes", "wpp_session_history"):
        assert pipeline.env.sql(f"select * from {table}") == [], table  # noqa: S608 - constants
    assert len(pipeline.logged()) == 1


def test_a_sender_that_matches_every_phone_has_no_contact(
    pipeline: InboundPipeline, ingress: IngressProcess
) -> None:
    """No client is found by it or made for it; the message is kept, and the sender counted."""
    pipeline.env.sql(
        "insert into clients (id, organization_id, name, phone) values (%s, %s, 'Anna', '+7999')",
        uuid4(),
        pipeline.organization,
    )
    event = {"type": "chat", "from": "%", "text": "x"}
    assert ingress.post(event, ingress.webhook_path(pipeline.account)).status == 200
    pipeline.settle()
    (row,) = pipeline.messages()
    assert (row["client_id"], row["metadata"]["contact"]) == (None, "no_phone")
    assert len(pipeline.env.sql("select * from clients")) == 1
    counted = pipeline.redis.hget(keys.UNRECOGNIZED_EVENTS, routing.UNREADABLE_SENDER)
    assert counted == b"1"

"""Routing decides the event of a request, its lane, tenant, gates and first outcome."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import routing
from shared.errors import IdempotencyConflictError
from shared.events import (
    MAX_EXPIRY_S,
    ContactCard,
    Location,
    Media,
    Message,
    ProvisionEvent,
    Reply,
    SendEvent,
    WebhookEvent,
    utc_now,
)
from shared.lanes.types import Append
from shared.lanes.wire import dump_model, fingerprint
from shared.outcomes import MessageOutcome
from tests.shared.lanes.harness import LaneHarness

ORGANIZATION, OTHER, INTEGRATION, ID = (UUID(int=number) for number in (1, 2, 3, 4))


def message(**fields: Any) -> Message:
    return Message.model_validate({"to": "+7 999 000-11-22", "text": "Hello"} | fields)


def send(event_id: UUID | None = None, organization: UUID = ORGANIZATION, **fields: Any) -> Append:
    return routing.route_send(organization, INTEGRATION, message(**fields), event_id)


def parse(item: Append) -> SendEvent:
    return SendEvent.model_validate_json(item.body)


def row(item: Append) -> MessageOutcome:
    [outcome] = item.outcomes
    assert isinstance(outcome, MessageOutcome)
    return outcome


def test_a_message_waits_in_the_lane_of_its_conversation() -> None:
    """Every form of a phone number is the same conversation."""
    lanes = {
        send(to=to).lane for to in ("+7 999 000-11-22", "8 (999) 000-11-22", "79990001122@c.us")
    }
    assert lanes == {f"send:{INTEGRATION}:79990001122"}


def test_a_message_has_its_organization_as_tenant_and_two_gates() -> None:
    """It waits while the platform is down or its integration cannot send."""
    item = send()
    assert (item.queue, item.tenant) == ("send", str(ORGANIZATION))
    assert item.gates == (routing.PLATFORM_GATE, routing.integration_gate(INTEGRATION))


def test_a_message_is_shown_as_queued() -> None:
    """Its first outcome has the same id and all that the request contains."""
    item = send(client_id=str(OTHER), sender_name="Anna")
    shown = row(item)
    assert (shown.id, shown.at) == (item.id, parse(item).accepted_at)
    assert (shown.organization_id, shown.integration_id, shown.phone) == (
        ORGANIZATION,
        INTEGRATION,
        "79990001122",
    )
    assert (shown.status, shown.outgoing, shown.text, shown.content) == (
        "queued",
        True,
        "Hello",
        "text",
    )
    assert (shown.client_id, shown.sender_name) == (OTHER, "Anna")


def test_a_message_may_have_its_own_maximum_age() -> None:
    """A replayed dead letter has the same maximum age again."""
    item = send(expires_in_s=60)
    assert item.max_age_s == 60
    assert routing.route_event(parse(item)).max_age_s == 60
    assert send().max_age_s is None


@pytest.mark.parametrize("seconds", [0, -1, 0.5, 10**9, "soon"])
def test_a_maximum_age_is_a_number_of_whole_seconds(seconds: object) -> None:
    """It is between 1 second and 30 days."""
    with pytest.raises(ValueError, match="expires_in_s"):
        message(expires_in_s=seconds)


def test_the_maximum_age_is_part_of_the_request(harness: LaneHarness) -> None:
    """The same key with another age is a conflict; None equals the default."""
    harness.lanes.append(send(ID))
    harness.lanes.append(send(ID, expires_in_s=None))
    with pytest.raises(IdempotencyConflictError):
        harness.lanes.append(send(ID, expires_in_s=60))


def test_a_file_is_shown_with_its_caption() -> None:
    """The outcome has the link, the name and the MIME type of the file."""
    media = Media.model_validate(
        {"type": "document", "url": "https://x.example/a.pdf", "filename": "a.pdf", "mime": "m/t"}
    )
    shown = row(send(media=media, text="The bill"))
    assert (shown.content, shown.text) == ("document", "The bill")
    assert (shown.file_url, shown.file_name, shown.file_type) == (
        "https://x.example/a.pdf",
        "a.pdf",
        "m/t",
    )


@pytest.mark.parametrize(
    ("url", "filename", "mime"),
    [
        ("https://x.example/a.mp4", None, "video/mp4"),
        ("https://x.example/object", "b.docx", "application/vnd.openxmlformats-"),
        ("https://x.example/object", None, None),
    ],
    ids=["link", "name", "unknown"],
)
def test_the_type_of_a_file_is_known_by_its_name(
    url: str, filename: str | None, mime: str | None
) -> None:
    """As long as the request does not name it."""
    media = Media.model_validate({"type": "document", "url": url, "filename": filename})
    shown = row(send(media=media))
    assert (shown.file_type or "").startswith(mime or "")
    assert bool(shown.file_type) == bool(mime)
    assert shown.file_name == (filename or url.rpartition("/")[2])


def test_a_contact_is_shown_as_text() -> None:
    """As a contact that arrives: the words of the row, and its parts in the metadata."""
    contact = ContactCard(name="Anna", phones=("+7 999 000-11-22", "1"))
    shown = row(send(text="", contact=contact))
    assert (shown.content, shown.text) == ("contact", "Anna, +7 999 000-11-22, 1")
    assert shown.metadata["contacts"] == [{"name": "Anna", "phones": ["+7 999 000-11-22", "1"]}]
    assert shown.metadata["substitutes"] == ["contact_as_text"]


def test_a_reply_is_shown_by_its_own_words() -> None:
    """The quoted lines are in the event; the row names the answered message."""
    reply = Reply(message_id=OTHER, wa_message_id="3EB0", quote="Shall we?")
    resolved = routing.Resolved(reply=reply)
    item = routing.route_send(ORGANIZATION, INTEGRATION, message(text="Yes"), resolved=resolved)
    shown = row(item)
    assert shown.text == "Yes"
    assert (shown.metadata["reply_to_id"], shown.metadata["reply_to"]) == (str(OTHER), "3EB0")
    assert parse(item).reply == reply


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "55.75, 37.5"),
        ({"address": "Main St 1"}, "Main St 1"),
        ({"name": "Office", "address": "Main St 1"}, "Office"),
    ],
)
def test_a_location_is_shown_as_text(fields: dict[str, str], text: str) -> None:
    """Its name, else its address, else its coordinates."""
    shown = row(
        send(text="", location=Location.model_validate({"lat": 55.75, "lng": 37.5} | fields))
    )
    assert (shown.content, shown.text) == ("location", text)


CHARACTERS = st.characters(codec="utf-8")


@given(
    fields=st.fixed_dictionaries(
        {
            "to": st.sampled_from(["+79990001122", "8 (999) 000-11-22", "+380501234567"]),
            "text": st.text(CHARACTERS, min_size=1).filter(str.strip),
        },
        optional={
            "integration_id": st.none() | st.just(INTEGRATION),
            "client_id": st.none() | st.uuids(),
            "teacher_id": st.none() | st.uuids(),
            "sender_name": st.none() | st.text(CHARACTERS, max_size=255),
            "expires_in_s": st.none() | st.integers(1, MAX_EXPIRY_S),
            "priority": st.sampled_from(["high", "normal", "low"]),
        },
    ),
    at=st.datetimes(timezones=st.just(UTC), min_value=datetime(2026, 1, 1)),  # noqa: DTZ001 - hypothesis wants it so
)
def test_a_text_is_routed_as_any_message(fields: dict[str, Any], at: datetime) -> None:
    """Byte for byte: only the models are left out."""
    text = Message.model_validate(fields)
    assert routing.is_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "utc_now", lambda: at)
        item = routing.route_text(ORGANIZATION, INTEGRATION, text, ID)
        whole = routing.route_send(ORGANIZATION, INTEGRATION, text, ID)
    assert item.rows == tuple(dump_model(outcome) for outcome in whole.outcomes)
    assert replace(item, rows=()) == replace(whole, outcomes=())


@pytest.mark.parametrize("name", sorted(Message.model_fields.keys() - routing._TEXT_FIELDS))  # noqa: SLF001 - of the same file
def test_a_message_with_more_than_a_text_is_routed_as_a_whole(name: str) -> None:
    """So is one with a field that a newer version adds: `route_text` does not read it."""
    assert not routing.is_text(message().model_copy(update={name: None}))


def test_a_text_without_a_key_is_new_and_needs_a_phone() -> None:
    first, second = (routing.route_text(ORGANIZATION, INTEGRATION, message()) for _ in range(2))
    assert first.id != second.id
    with pytest.raises(ValueError, match="not a phone number"):
        routing.route_text(ORGANIZATION, INTEGRATION, message(to="555-01-00"))


def test_a_later_outcome_has_the_ids_of_the_platform() -> None:
    """It belongs to the same row."""
    event = parse(send())
    sent = routing.build_message_outcome(event, "sent", utc_now(), task_id="queue-1")
    assert (sent.status, sent.task_id, sent.id) == ("sent", "queue-1", event.id)


def test_without_a_key_every_request_is_new() -> None:
    """Two equal messages are two events."""
    assert send().id != send().id


def test_the_chosen_integration_is_not_part_of_the_request(harness: LaneHarness) -> None:
    """A retry after the primary integration changed is the same message."""
    first = harness.lanes.append(send(ID))
    again = harness.lanes.append(routing.route_send(ORGANIZATION, OTHER, message(), ID))
    assert (again.id, again.new) == (first.id, False)


@pytest.mark.parametrize(
    "other", [{"text": "Bye"}, {"to": "+7 999 000-11-23"}, {"integration_id": str(OTHER)}]
)
def test_the_same_key_for_another_message_is_refused(
    harness: LaneHarness, other: dict[str, Any]
) -> None:
    """Text, recipient and requested integration are part of the request."""
    harness.lanes.append(send(ID))
    with pytest.raises(IdempotencyConflictError):
        harness.lanes.append(send(ID, **other))


def test_a_worker_reads_the_event_that_was_accepted(harness: LaneHarness) -> None:
    """No field is lost on the way through Redis."""
    item = send(media={"type": "image", "url": "https://x.example/a.png"}, teacher_id=str(OTHER))
    harness.lanes.append(item)
    assert SendEvent.model_validate_json(harness.claim().body) == parse(item)


def test_provisioning_waits_in_the_lane_of_its_organization() -> None:
    """Requests are processed in order; polling has a lane of its own and delays no request."""
    event = ProvisionEvent(id=uuid4(), organization_id=ORGANIZATION, integration_id=INTEGRATION)
    assert routing.route_provision(event).lane == f"provision:{ORGANIZATION}"
    watch = routing.route_provision(event.model_copy(update={"action": "watch"}), delay_s=5)
    assert (watch.lane, watch.delay_s, watch.tenant) == (
        f"watch:{INTEGRATION}",
        5,
        str(ORGANIZATION),
    )


def test_a_webhook_waits_in_the_lane_of_its_conversation_or_account() -> None:
    """An event without a peer, for example a QR code, belongs to the account."""
    item = routing.route_webhook("acc", {"type": "message"}, "m1", "79990001122")
    assert (item.lane, item.tenant, item.queue) == ("event:acc:79990001122", "acc", "webhook")
    assert routing.route_webhook("acc", {"type": "qr"}, "q1", None).lane == "event:acc"
    event = WebhookEvent.model_validate_json(item.body)
    assert (event.account, event.peer, event.payload) == (
        "acc",
        "79990001122",
        {"type": "message"},
    )


def test_a_repeated_webhook_is_the_same_event_despite_another_payload(harness: LaneHarness) -> None:
    """A retry may contain another time or URL; the identity decides, the first payload stays."""
    answers = [
        harness.lanes.append(routing.route_webhook("acc", {"at": at}, "m1", None)) for at in (1, 2)
    ]
    assert [answer.new for answer in answers] == [True, False]
    assert WebhookEvent.model_validate_json(harness.claim("webhook").body).payload == {"at": 1}


def test_equal_webhooks_of_two_accounts_are_two_events() -> None:
    """Identities are unique within an account only."""
    assert (
        routing.route_webhook("a", {}, "m1", None).id
        != routing.route_webhook("b", {}, "m1", None).id
    )


def test_a_national_recipient_belongs_to_the_organizations_region() -> None:
    """A message is created before its region is known."""
    wanted = Message(to="0912 345 678", text="Hello")
    item = routing.route_send(uuid4(), uuid4(), wanted, region="VN")
    assert parse(item).to == "84912345678"
    with pytest.raises(ValueError, match="not a phone number"):
        routing.route_send(uuid4(), uuid4(), wanted)


@pytest.mark.parametrize("priority", ["high", "low"])
def test_a_priority_belongs_to_the_request_and_to_its_event(priority: str) -> None:
    plain, other = send(), send(priority=priority)
    assert (parse(plain).priority, parse(other).priority) == ("normal", priority)
    assert plain.fingerprint != other.fingerprint


def test_the_usual_priority_changes_no_fingerprint_of_an_earlier_version() -> None:
    """A request that is repeated after an update is the same request."""
    item = routing.route_send(
        ORGANIZATION, INTEGRATION, Message(to="79990001122", text="Hi", priority="normal")
    )
    assert item.fingerprint == fingerprint({"to": "79990001122", "text": "Hi"})

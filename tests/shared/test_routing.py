"""Intake: which event a request is, which lane it waits in, and what Supabase is told at once."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import routing
from shared.errors import IdempotencyConflictError
from shared.events import Location, Media, Message, ProvisionEvent, SendEvent, WebhookEvent, utc_now
from shared.lanes.client import Append
from shared.outcomes import MessageOutcome
from tests.shared.lanes.harness import Bench

ORGANIZATION, OTHER, INTEGRATION = (UUID(int=number) for number in (1, 2, 3))


def message(**fields: Any) -> Message:
    return Message.model_validate({"to": "+7 999 000-11-22", "text": "Hello"} | fields)


def send(key: str | None = None, organization: UUID = ORGANIZATION, **fields: Any) -> Append:
    return routing.route_send(organization, INTEGRATION, message(**fields), key)


def row(item: Append) -> MessageOutcome:
    [outcome] = item.outcomes
    assert isinstance(outcome, MessageOutcome)
    return outcome


def test_a_message_waits_in_the_lane_of_its_conversation() -> None:
    """However the number is spelled, it is one conversation."""
    lanes = {
        send(to=to).lane for to in ("+7 999 000-11-22", "8 (999) 000-11-22", "79990001122@c.us")
    }
    assert lanes == {f"send:{INTEGRATION}:79990001122"}


def test_a_message_counts_for_its_organization_and_waits_at_both_gates() -> None:
    item = send()
    assert (item.kind, item.tenant) == ("send", str(ORGANIZATION))
    assert item.gates == (routing.PLATFORM_GATE, routing.integration_gate(INTEGRATION))


def test_a_message_is_shown_as_queued_at_once() -> None:
    item = send(client_id=str(OTHER), sender_name="Anna")
    shown = row(item)
    assert (shown.id, shown.at) == (item.event.id, item.event.accepted_at)
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


def test_a_message_may_expire_sooner_than_others() -> None:
    """Also when it is put back from its dead letter: it then has as long as it had at first."""
    item = send(expires_in_s=60)
    assert item.max_age_s == 60
    assert routing.route_event(item.event).max_age_s == 60  # type: ignore[arg-type]
    assert send().max_age_s is None


@pytest.mark.parametrize("seconds", [0, -1, 0.5, 10**9, "soon"])
def test_a_time_to_live_is_whole_seconds(seconds: object) -> None:
    with pytest.raises(ValueError, match="expires_in_s"):
        message(expires_in_s=seconds)


def test_the_same_key_with_another_time_to_live_is_another_request(bench: Bench) -> None:
    bench.lanes.append(send("k"))
    bench.lanes.append(send("k", expires_in_s=None))
    with pytest.raises(IdempotencyConflictError):
        bench.lanes.append(send("k", expires_in_s=60))


def test_a_file_is_shown_with_its_caption() -> None:
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
    ("fields", "text"),
    [
        ({}, "55.75, 37.5"),
        ({"address": "Main St 1"}, "Main St 1"),
        ({"name": "Office", "address": "Main St 1"}, "Office"),
    ],
)
def test_a_place_is_shown_in_words(fields: dict[str, str], text: str) -> None:
    shown = row(
        send(text="", location=Location.model_validate({"lat": 55.75, "lng": 37.5} | fields))
    )
    assert (shown.content, shown.text) == ("location", text)


def test_a_later_row_tells_what_has_been_learned() -> None:
    event = send().event
    assert isinstance(event, SendEvent)
    told = routing.build_message_outcome(event, "sent", utc_now(), task_id="queue-1")
    assert (told.status, told.task_id, told.id) == ("sent", "queue-1", event.id)


def test_without_a_key_every_request_is_new() -> None:
    assert send().event.id != send().event.id


def test_the_same_key_is_the_same_event_of_that_organization_only() -> None:
    assert send("order-17").event.id == send("order-17").event.id
    assert (
        len(
            {send("order-17").event.id, send("order-18").event.id, send("order-17", OTHER).event.id}
        )
        == 3
    )


@given(first=st.text(min_size=1), second=st.text(min_size=1))
def test_different_keys_are_different_events(first: str, second: str) -> None:
    assert (send(first).event.id == send(second).event.id) == (first == second)


def test_a_request_is_the_same_whatever_number_was_chosen_for_it(bench: Bench) -> None:
    """The default number changed between two tries: still one message, from the first number."""
    first = bench.lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, message(), "key"))
    again = bench.lanes.append(routing.route_send(ORGANIZATION, OTHER, message(), "key"))
    assert (again.id, again.new) == (first.id, False)


@pytest.mark.parametrize(
    "other", [{"text": "Bye"}, {"to": "+7 999 000-11-23"}, {"integration_id": str(OTHER)}]
)
def test_the_same_key_for_another_message_is_refused(bench: Bench, other: dict[str, Any]) -> None:
    bench.lanes.append(send("key"))
    with pytest.raises(IdempotencyConflictError):
        bench.lanes.append(send("key", **other))


def test_a_message_arrives_as_it_was_accepted(bench: Bench) -> None:
    item = send(media={"type": "image", "url": "https://x.example/a.png"}, teacher_id=str(OTHER))
    bench.lanes.append(item)
    assert SendEvent.model_validate_json(bench.claim().body) == item.event


def test_provisioning_waits_in_the_lane_of_its_organization() -> None:
    """Two clicks come one after the other; watching has a lane of its own, the next click does not wait for it."""
    event = ProvisionEvent(id=uuid4(), organization_id=ORGANIZATION, integration_id=INTEGRATION)
    assert routing.route_provision(event).lane == f"provision:{ORGANIZATION}"
    watch = routing.route_provision(event.model_copy(update={"action": "watch"}), delay_s=5)
    assert (watch.lane, watch.delay_s, watch.tenant) == (
        f"watch:{INTEGRATION}",
        5,
        str(ORGANIZATION),
    )


def test_a_webhook_waits_in_the_lane_of_its_conversation_or_account() -> None:
    item = routing.route_webhook("acc", {"type": "message"}, "m1", "79990001122")
    assert (item.lane, item.tenant, item.kind) == ("event:acc:79990001122", "acc", "webhook")
    assert routing.route_webhook("acc", {"type": "qr"}, "q1", None).lane == "event:acc"
    assert isinstance(item.event, WebhookEvent)
    assert (item.event.account, item.event.peer, item.event.payload) == (
        "acc",
        "79990001122",
        {"type": "message"},
    )


def test_a_webhook_told_twice_is_one_even_when_worded_otherwise(bench: Bench) -> None:
    """A retry may carry another time or a fresher URL: its identity decides, and the first wording counts."""
    answers = [
        bench.lanes.append(routing.route_webhook("acc", {"at": at}, "m1", None)) for at in (1, 2)
    ]
    assert [answer.new for answer in answers] == [True, False]
    assert WebhookEvent.model_validate_json(bench.claim("webhook").body).payload == {"at": 1}


def test_webhooks_of_two_accounts_never_meet() -> None:
    assert (
        routing.route_webhook("a", {}, "m1", None).event.id
        != routing.route_webhook("b", {}, "m1", None).event.id
    )


def test_a_recipient_is_read_as_people_write_in_the_organization_s_region() -> None:
    """And a message may be written before anybody knows which that is."""
    wanted = Message(to="0912 345 678", text="Hello")
    item = routing.route_send(uuid4(), uuid4(), wanted, region="VN")
    assert getattr(item.event, "to") == "84912345678"  # noqa: B009 - one kind of event has it
    with pytest.raises(ValueError, match="not a phone number"):
        routing.route_send(uuid4(), uuid4(), wanted)

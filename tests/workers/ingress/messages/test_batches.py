"""Batches: a result for each message, in order; what is refused does not stop the rest."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.events import Message
from shared.lanes.records import find_record
from shared.lanes.types import Accepted
from shared.redis import keys
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.messages.contacts import add_arrived, add_contact
from tests.workers.ingress.tenants import Tenant
from workers.ingress.deps import AppState
from workers.ingress.messages import batches
from workers.ingress.messages.batch_schemas import BatchMessage
from workers.ingress.messages.preparation import Prepared

PATH = "/v1/messages/batch"


def make_messages(count: int, **more: object) -> list[dict[str, Any]]:
    return [{"to": f"7999{n:07}", "text": f"Message {n}", **more} for n in range(count)]


def send(tenant: Tenant, messages: list[Any], key: str | None = None) -> dict[str, Any]:
    answer = tenant.post(PATH, {"messages": messages}, key=key)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def limited(
    redis_server: RedisServer, supabase_world: Supabase, tenant: Tenant, tmp_path: Path
) -> Iterator[Tenant]:
    """Return an organization at an ingress of low limits: 150 waiting messages, and 300 at once."""
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_WAITING_LIMIT": "150",
        "WPP_KEY_QUOTA": "300/3000",
        "WPP_BATCH_BODY_LIMIT": "300000",
    }
    with IngressProcess(redis_server.url, tmp_path, **settings) as process:
        process.http.headers["Authorization"] = tenant.http.headers["Authorization"]
        yield Tenant(tenant.id, process.http, tenant.database, tenant.client)


def test_a_thousand_messages_are_accepted_in_their_order(tenant: Tenant) -> None:
    """Each has a record; those of a conversation wait in the order of the batch."""
    number = tenant.add_integration("42").rsplit("/", 1)[-1]
    messages = make_messages(900) + make_messages(100, to="79990000000")
    found = send(tenant, messages)
    assert (found["accepted"], found["refused"]) == (1000, 0)
    items = found["items"]
    assert {item["integration_id"] for item in items} == {number}
    assert {item["status"] for item in items} == {"queued"}
    lane = tenant.client.lrange(keys.lane(f"send:{number}:79990000000"), 0, -1)
    listed: Any = lane
    expected = [items[0]["id"], *(item["id"] for item in items[900:])]
    assert [each.decode() for each in listed] == expected
    assert tenant.count_waiting("send") == 1000


def test_an_invalid_message_does_not_stop_the_rest(tenant: Tenant) -> None:
    """Each error says what is wrong and where, as for a single message."""
    tenant.add_integration("42")
    good = {"to": "79990001122", "text": "Hello"}
    wrong: list[tuple[Any, int, str | None]] = [
        ({"to": "79990001122"}, 422, "text"),
        ({**good, "to": "12"}, 422, "to"),
        ({**good, "to": "555-0100"}, 422, "to"),
        ({**good, "colour": "red"}, 422, "colour"),
        ({**good, "client_id": str(uuid4())}, 404, None),
        ({**good, "integration_id": str(uuid4())}, 404, None),
        ({**good, "idempotency_key": "\n"}, 422, "idempotency_key"),
        ("text", 422, "body"),
        (None, 422, "body"),
    ]
    mixed = [each for one, _, _ in wrong for each in (one, good)]
    found = send(tenant, mixed)
    assert (found["accepted"], found["refused"]) == (len(wrong), len(wrong))
    for (_, status, field), item in zip(wrong, found["items"][::2], strict=True):
        assert (item["id"], item["error"]["status"]) == (None, status), item
        assert [each["field"] for each in item["error"].get("errors", [])] == (
            [field] if field else []
        )
    assert all(item["id"] and not item["error"] for item in found["items"][1::2])


def test_a_repeated_batch_has_no_further_effect(tenant: Tenant) -> None:
    """Under the batch's key each place is a message; a new message in it is accepted."""
    tenant.add_integration("42")
    messages = make_messages(5)
    first = send(tenant, messages, key="b")
    again = send(tenant, [*messages, {"to": "79995556677", "text": "New"}], key="b")
    assert [item["id"] for item in again["items"][:5]] == [item["id"] for item in first["items"]]
    assert [item["replayed"] for item in again["items"]] == [True] * 5 + [False]
    changed = send(tenant, [{**messages[0], "text": "Other"}, messages[1]], key="b")
    assert changed["items"][0]["error"]["code"] == "idempotency_conflict"
    assert changed["items"][1]["id"] == first["items"][1]["id"]
    assert tenant.count_waiting("send") == 6


def test_a_key_means_the_same_message_alone_and_in_a_batch(tenant: Tenant) -> None:
    """Twice in a batch it is accepted once."""
    tenant.add_integration("42")
    message = {"to": "79990001122", "text": "Hello"}
    alone = tenant.post("/v1/messages", message, key="order-17").json()["id"]
    items = send(tenant, [{**message, "idempotency_key": "order-17"}] * 2)["items"]
    assert [(item["id"], item["replayed"]) for item in items] == [(alone, True)] * 2
    assert tenant.count_waiting("send") == 1


def test_each_message_has_its_own_number_and_recipient(tenant: Tenant, database_url: str) -> None:
    """As for single messages: by contact, last number, name."""
    first = tenant.add_integration("42").rsplit("/", 1)[-1]
    second = tenant.add_integration("43").rsplit("/", 1)[-1]
    client_id = add_contact(database_url, tenant.id, "8 999 000-11-22")
    teacher_id = add_contact(database_url, tenant.id, "79993334455", "teachers")
    add_arrived(database_url, tenant.id, second, client_id=client_id)
    items = send(
        tenant,
        [
            {"client_id": str(client_id), "text": "a"},
            {"teacher_id": str(teacher_id), "text": "b"},
            {"to": "+7 999 000 11 22", "text": "c"},
            {"to": "79995556677", "text": "d", "integration_id": second},
        ],
    )["items"]
    assert [item["integration_id"] for item in items] == [second, first, second, second]
    lanes = [found.lane for item in items if (found := find_record(tenant.client, item["id"]))]
    phones = ["79990001122", "79993334455", "79990001122", "79995556677"]
    assert [lane.rsplit(":", 1)[-1] for lane in lanes] == phones


def test_ids_of_another_organization_are_not_found(
    tenant: Tenant,
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
    database_url: str,
) -> None:
    """And nothing reaches them: contacts, integrations, keys."""
    tenant.add_integration("42")
    with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as other:
        theirs = other.add_integration("44").rsplit("/", 1)[-1]
        client_id = add_contact(database_url, other.id, "79990001122")
        message = {"to": "79990001122", "text": "Hello", "idempotency_key": "k"}
        their_id = send(other, [message])["items"][0]["id"]
    items = send(
        tenant,
        [
            {"text": "a", "client_id": str(client_id)},
            {"to": "79990001122", "text": "b", "integration_id": theirs},
            message,
        ],
    )["items"]
    assert [item["error"] and item["error"]["status"] for item in items] == [404, 404, None]
    assert items[2]["id"] != their_id
    assert items[2]["replayed"] is False


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_messages(tenant: Tenant, count: int) -> None:
    """422 names the field."""
    answer = tenant.post(PATH, {"messages": make_messages(count)})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "messages")


def test_what_has_no_room_is_told_to_come_again(limited: Tenant) -> None:
    """503 for each message beyond the limit, and Retry-After; the rest is accepted."""
    limited.add_integration("42")
    answer = limited.post(PATH, {"messages": make_messages(200)}, key="b")
    found = answer.json()
    assert (answer.status_code, found["accepted"], found["refused"]) == (202, 150, 50)
    assert "Retry-After" in answer.headers
    refused = [item["error"]["status"] for item in found["items"] if item["error"]]
    assert refused == [503] * 50


def test_messages_count_against_the_quota(limited: Tenant) -> None:
    """A batch that does not fit is refused as a whole, and nothing of it counts."""
    limited.add_integration("42")
    assert limited.post(PATH, {"messages": make_messages(140)}, key="a").status_code == 202
    refused = limited.post(PATH, {"messages": make_messages(200)}, key="b")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 1
    assert limited.post(PATH, {"messages": make_messages(140)}, key="a").status_code == 202


def test_the_body_of_a_batch_has_a_limit_of_its_own(limited: Tenant) -> None:
    """Above the limit of other requests, below its own; beyond that 413."""
    limited.add_integration("42")
    messages = make_messages(5, text="x" * 58_000)
    assert limited.post(PATH, {"messages": messages}).status_code == 202
    answer = limited.post(PATH, {"messages": messages * 2})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


class LosingProducer:
    """A producer whose Redis is lost after some messages."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.calls = 0

    async def append_each(self, items: Sequence[Any]) -> list[Accepted | Exception]:
        self.calls += 1
        replies: list[Accepted | Exception] = []
        for item in items:
            self.left -= 1
            lost = redis.ConnectionError("lost")
            replies.append(lost if self.left < 0 else Accepted(item, new=True, state="queued"))
        return replies


class FakePrepared(Prepared):
    def build_append(self) -> Any:
        return uuid4()


def lose_redis(after: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, LosingProducer]:
    """Send 400 messages, of which Redis confirms the first `after`."""

    async def prepare(
        wanted: Sequence[tuple[Message, str | None]], organization_id: UUID, _state: AppState
    ) -> list[Any]:
        return [FakePrepared(organization_id, message, None, None) for message, _ in wanted]

    monkeypatch.setattr(batches, "prepare_messages", prepare)
    producer = LosingProducer(after)
    state = cast("AppState", SimpleNamespace(producer=producer))
    batch = [BatchMessage.model_validate(each) for each in make_messages(400)]
    return asyncio.run(batches.send_batch(batch, uuid4(), None, state)), producer


@pytest.mark.parametrize(("after", "calls"), [(150, 2), (100, 2), (250, 3)])
def test_after_an_outage_the_rest_is_not_tried(
    after: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the rest is told that it was not confirmed."""
    answer, producer = lose_redis(after, monkeypatch)
    assert (answer.accepted, answer.refused, producer.calls) == (after, 400 - after, calls)
    assert {item.error.code for item in answer.items[after:]} == {"queue_unavailable"}


def test_a_batch_without_a_confirmation_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an answer that says 400 times the same."""
    with pytest.raises(redis.ConnectionError):
        lose_redis(0, monkeypatch)

"""/v1/messages: accepted, read, resolved."""

from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import psycopg
import pytest

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.events import Message, SendEvent
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.types import ClaimSequence, Settled
from shared.outcomes import StatusOutcome
from shared.producer import Producer
from shared.redis import keys
from shared.routing import build_message_outcome
from shared.settings import EngineSettings
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.owned import Owner
from tests.workers.ingress.tenants import Tenant

HELLO = {"to": "+7 999 000-11-22", "text": "Hello"}


def send_message(tenant: Tenant, **more: object) -> str:
    """Return the path of a message that was just accepted."""
    answer = tenant.post("/v1/messages", {**HELLO, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/messages/{answer.json()['id']}"
    return str(answer.headers["Location"])


def test_an_accepted_message_has_a_status(tenant: Tenant) -> None:
    """It waits in the lane of its conversation, and its path answers at once."""
    number = tenant.add_integration("42").rsplit("/", 1)[-1]
    path = send_message(tenant)
    record = find_record(tenant.client, UUID(path.rsplit("/", 1)[-1]))
    assert record
    assert record.lane == f"send:{number}:79990001122"
    found = tenant.http.get(path).json()
    assert (found["status"], found["attempts"], found["reason"], found["code"]) == (
        "queued",
        0,
        None,
        None,
    )
    accepted_at = datetime.fromisoformat(found["accepted_at"])
    assert datetime.now(UTC) - accepted_at < timedelta(seconds=10)


def test_a_failed_message_has_code_and_reason(tenant: Tenant) -> None:
    """The code is that of its dead letter."""
    tenant.add_integration("42")
    path = send_message(tenant)
    tenant.settle_next(
        "send", Settled("failed", fields={"reason": "400: no such recipient", "code": "refused"})
    )
    found = tenant.http.get(path).json()
    assert (found["status"], found["code"], found["reason"]) == (
        "failed",
        "refused",
        "400: no such recipient",
    )


def test_the_status_includes_later_webhooks(tenant: Tenant) -> None:
    """Redis has `sent`, Supabase has `read`."""
    tenant.add_integration("42")
    path = send_message(tenant)
    event_id = tenant.settle_next("send", Settled("sent", fields={"task_id": "t1"}))
    assert tenant.http.get(path).json()["status"] == "sent"
    number = UUID(tenant.http.get("/v1/integrations").json()[0]["integration_id"])
    event = SendEvent(
        id=event_id,
        organization_id=tenant.id,
        integration_id=number,
        to="79990001122",
        text="Hello",
    )
    read = build_message_outcome(event, "read", datetime.now(UTC))
    tenant.database.outcomes.apply([read.model_dump(mode="json", exclude_none=True)])
    found = tenant.http.get(path).json()
    assert (found["status"], found["task_id"]) == ("read", "t1")


def test_the_history_lists_every_status(tenant: Tenant) -> None:
    """From its acceptance on, each status with its time and source."""
    tenant.add_integration("42")
    path = send_message(tenant)
    (queued,) = tenant.http.get(f"{path}/history").json()
    assert (queued["status"], queued["source"], queued["error"]) == ("queued", "own", None)
    number = UUID(tenant.http.get("/v1/integrations").json()[0]["integration_id"])
    event_id = UUID(path.rsplit("/", 1)[-1])
    event = SendEvent(
        id=event_id,
        organization_id=tenant.id,
        integration_id=number,
        to="79990001122",
        text="Hello",
    )
    said = [
        build_message_outcome(event, "queued", event.accepted_at),
        build_message_outcome(event, "sent", datetime.now(UTC)),
    ]
    read = StatusOutcome(
        at=datetime.now(UTC) + timedelta(seconds=1),
        account="42",
        external_ids=["t1"],
        task_id="t1",
        status="read",
    )
    outcomes = [said[0], said[1].model_copy(update={"task_id": "t1"}), read]
    tenant.database.outcomes.apply(
        [outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes]
    )
    found = tenant.http.get(f"{path}/history").json()
    assert [(each["status"], each["source"]) for each in found] == [
        ("queued", "own"),
        ("sent", "own"),
        ("read", "platform"),
    ]
    assert [each["at"] for each in found] == sorted(each["at"] for each in found)


def test_edits_and_reactions_are_events_without_a_status(tenant: Tenant, database_url: str) -> None:
    """They stand in the history too."""
    message_id = Owner.new(tenant, database_url).add_message()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into public.wpp_message_history "
            "(message_id, organization_id, event, source, at, arrived_at) "
            "values (%s, %s, 'edited', 'own', now(), now())",
            (message_id, tenant.id),
        )
    found = tenant.http.get(f"/v1/messages/{message_id}/history").json()
    assert [(each["event"], each["status"]) for each in found] == [
        ("sent", "sent"),
        ("edited", None),
    ]


def test_the_history_of_an_unknown_message_is_404(tenant: Tenant) -> None:
    """An unknown id has no history."""
    assert tenant.http.get(f"/v1/messages/{uuid4()}/history").status_code == 404


def test_expires_in_s_limits_the_wait(tenant: Tenant) -> None:
    """In whole seconds; an invalid value is refused with its field."""
    tenant.add_integration("42")
    send_message(tenant, expires_in_s=60)
    claim = Lanes(tenant.client, EngineSettings()).claim("send", ClaimSequence())
    assert claim
    assert claim.expires_ms - claim.accepted_ms == 60_000
    wrong = tenant.post("/v1/messages", {**HELLO, "expires_in_s": 0})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "expires_in_s")


def test_sending_needs_an_integration(tenant: Tenant) -> None:
    """404 says how to connect one; an unknown integration is a different 404."""
    assert "POST /v1/integrations" in tenant.post("/v1/messages", HELLO).json()["detail"]
    other = str(uuid4())
    answer = tenant.post("/v1/messages", {**HELLO, "integration_id": other})
    assert answer.status_code == 404
    assert other in answer.json()["detail"]


def test_a_prepared_row_does_not_take_a_message(tenant: Tenant, database_url: str) -> None:
    """Another organization has rows under ids that it can derive from organization and key."""
    tenant.add_integration("42")
    guess = uuid5(NAMESPACE_URL, f"wpp:{tenant.id}:otp-42")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "with o as (insert into public.organizations (id, name) values (%s, 'Thief') "
            "returning id) insert into public.chat_messages "
            "(id, organization_id, message_text, message_type, is_outgoing) "
            "select %s, o.id, 'mine', 'manager', true from o",
            (uuid4(), guess),
        )
    sent = tenant.post("/v1/messages", HELLO, key="otp-42")
    event = SendEvent.model_validate_json(
        str(tenant.client.hget(keys.event(sent.json()["id"]), "body").decode())  # type: ignore[union-attr]
    )
    queued = build_message_outcome(event, "queued", event.accepted_at)
    applied = tenant.database.outcomes.apply([queued.model_dump(mode="json", exclude_none=True)])
    assert not applied.refused
    assert tenant.database.messages.get(event.id, tenant.id)


def test_a_row_of_another_organization_takes_no_outcome(tenant: Tenant, database_url: str) -> None:
    """Even if it has the id of the message; and it answers no request."""
    number = UUID(tenant.add_integration("42").rsplit("/", 1)[-1])
    event = SendEvent(
        id=uuid4(), organization_id=tenant.id, integration_id=number, to="79990001122", text="Hello"
    )
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "with o as (insert into public.organizations (id, name) values (%s, 'Thief') "
            "returning id) insert into public.chat_messages "
            "(id, organization_id, message_text, message_type, is_outgoing) "
            "select %s, o.id, 'mine', 'manager', true from o",
            (uuid4(), event.id),
        )
    sent = build_message_outcome(event, "sent", event.accepted_at)
    applied = tenant.database.outcomes.apply([sent.model_dump(mode="json", exclude_none=True)])
    assert [each.row for each in applied.refused] == [0]
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select message_text, message_status from public.chat_messages where id = %s",
            (event.id,),
        ).fetchone()
    assert row
    assert (row[0], str(row[1]) in {"None", "sent"}) == ("mine", True)
    assert tenant.http.get(f"/v1/messages/{event.id}").status_code == 404


def test_every_process_gives_a_key_the_same_message(
    tenant: Tenant,
    redis_server: RedisServer,
    supabase_world: Supabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Also one that starts later, and a service that enqueues by itself."""
    tenant.add_integration("42")
    first = tenant.post("/v1/messages", HELLO, key="k").json()["id"]
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
    }
    directory = tmp_path_factory.mktemp("later")
    with IngressProcess(redis_server.url, directory, **settings) as later:
        headers = {"Authorization": tenant.http.headers["Authorization"], "Idempotency-Key": "k"}
        again = later.http.post("/v1/messages", json=HELLO, headers=headers)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (first, "true")
    accepted = Producer(tenant.client).send(tenant.id, Message.model_validate(HELLO), "k")
    assert (str(accepted.id), accepted.new) == (first, False)
    assert tenant.count_waiting("send") == 1


def test_a_provisioning_event_is_not_a_message(tenant: Tenant) -> None:
    """Its id is not found under /v1/messages."""
    number = tenant.post("/v1/integrations", {}).json()["integration_id"]
    assert tenant.http.get(f"/v1/messages/{number}").status_code == 404

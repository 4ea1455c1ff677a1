"""Dry runs: everything is checked and answered as for a send, and nothing is accepted."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from shared.lanes.client import Lanes
from shared.redis import keys
from shared.routing import integration_gate
from shared.settings import EngineSettings
from tests.workers.ingress.messages.contacts import add_arrived, add_contact
from tests.workers.ingress.tenants import Tenant

PLAN = "/v1/messages?dry_run=true"
PHONE = "79990001122"


def test_a_plan_says_what_would_happen(tenant: Tenant, database_url: str) -> None:
    """Recipient, number and kind as they would be; no event, no row, no key."""
    tenant.add_integration("42")
    second = tenant.add_integration("43").rsplit("/", 1)[-1]
    client_id = add_contact(database_url, tenant.id, "8 (999) 000-11-22")
    add_arrived(database_url, tenant.id, second, client_id=client_id)
    media = {"type": "image", "url": "https://files.example.com/a.png"}
    answer = tenant.post(PLAN, {"client_id": str(client_id), "media": media}, key="k")
    plan = answer.json()
    assert answer.status_code == 200
    assert (plan["to"], plan["integration_id"], plan["kind"]) == (PHONE, second, "image")
    assert (plan["waits_for"], plan["repeats"]) == (None, None)
    assert abs(datetime.fromisoformat(plan["send_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert tenant.client.xlen(keys.OUTBOX) == 0
    assert tenant.count_waiting("send") == 0
    assert "Location" not in answer.headers


def test_a_plan_names_the_message_that_it_would_repeat(tenant: Tenant) -> None:
    tenant.add_integration("42")
    body = {"to": PHONE, "text": "Hello"}
    accepted = tenant.post("/v1/messages", body, key="k").json()["id"]
    assert tenant.post(PLAN, body, key="k").json()["repeats"] == accepted


def test_a_plan_says_what_its_number_waits_for(tenant: Tenant) -> None:
    number = tenant.add_integration("42").rsplit("/", 1)[-1]
    lanes = Lanes(tenant.client, EngineSettings())
    lanes.close_gate(f"{integration_gate(number)}", 60, "the phone is offline")
    plan = tenant.post(PLAN, {"to": PHONE, "text": "Hello"}).json()
    assert plan["waits_for"] == "the phone is offline"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"to": "12"}, 422),
        ({"text": ""}, 422),
        ({"client_id": str(uuid4())}, 404),
        ({"integration_id": str(uuid4())}, 404),
    ],
    ids=["phone", "text", "client", "integration"],
)
def test_a_plan_refuses_what_a_send_refuses(
    tenant: Tenant, wrong: dict[str, str], status: int
) -> None:
    """With the same answer."""
    tenant.add_integration("42")
    body = {"to": PHONE, "text": "Hello", **wrong}
    planned, sent = tenant.post(PLAN, body), tenant.post("/v1/messages", body)
    assert (planned.status_code, planned.json()) == (status, sent.json())


def test_a_batch_is_planned_message_by_message(tenant: Tenant) -> None:
    """In order, with a plan or an error each."""
    tenant.add_integration("42")
    messages = [{"to": PHONE, "text": "a"}, {"to": "12", "text": "b"}, {"to": PHONE, "text": "c"}]
    answer = tenant.post("/v1/messages/batch?dry_run=true", {"messages": messages})
    first, second, third = answer.json()["items"]
    assert answer.status_code == 200
    assert first["plan"]["to"] == third["plan"]["to"] == PHONE
    assert (second["plan"], second["error"]["errors"][0]["field"]) == (None, "to")
    assert tenant.count_waiting("send") == 0

"""Replies: the answered message is of the same conversation, and its lines are quoted."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.events import Message, SendEvent, utc_now
from shared.lanes.records import find_record
from shared.outcomes import MessageOutcome
from shared.redis import keys
from shared.routing import route_send
from tests.workers.ingress.tenants import Tenant

PHONE = "79990001122"


def store(tenant: Tenant, integration: str, **fields: Any) -> str:
    """Store a message that was sent to `PHONE`; return its id."""
    integration_id = UUID(integration.rsplit("/", 1)[-1])
    message = Message.model_validate({"to": f"+{PHONE}", "text": "Shall we?", **fields})
    [outcome] = route_send(tenant.id, integration_id, message).outcomes
    tenant.database.outcomes.apply([outcome.model_dump(mode="json", exclude_none=True)])
    assert isinstance(outcome, MessageOutcome)
    return str(outcome.id)


def quote_of(tenant: Tenant, answer: Any) -> str:
    assert answer.status_code == 202, answer.text
    record = find_record(tenant.client, UUID(answer.json()["id"]))
    assert record
    assert record.body
    reply = SendEvent.model_validate_json(record.body).reply
    assert reply
    return reply.quote


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Shall we?", "Shall we?"),
        ("One\n\n Two  words\nThree\nFour", "One\nTwo words\nThree…"),
        ("я" * 300, "я" * 200 + "…"),
    ],
    ids=["short", "many lines", "long"],
)
def test_the_first_lines_are_quoted(tenant: Tenant, text: str, quote: str) -> None:
    number = tenant.add_integration("42")
    body = {"to": f"+{PHONE}", "text": "Yes", "reply_to": store(tenant, number, text=text)}
    answer = tenant.post("/v1/messages", body)
    assert quote_of(tenant, answer) == quote
    assert answer.json()["substitutes"] == ["quoted_text"]
    found = tenant.http.get(f"/v1/messages/{answer.json()['id']}").json()
    assert (found["kind"], found["substitutes"]) == ("text", ["quoted_text"])


def test_a_file_without_a_text_is_quoted_by_its_name(tenant: Tenant) -> None:
    media = {"type": "document", "url": "https://files.test/bill.pdf"}
    answered = store(tenant, tenant.add_integration("42"), text="", media=media)
    body = {"to": f"+{PHONE}", "text": "Paid", "reply_to": answered}
    assert quote_of(tenant, tenant.post("/v1/messages", body)) == "bill.pdf"


def test_a_message_that_arrived_is_known_by_its_id_of_whatsapp(tenant: Tenant) -> None:
    tenant.add_integration("42")
    arrived = MessageOutcome(
        at=utc_now(),
        id=uuid4(),
        account="42",
        outgoing=False,
        phone=PHONE,
        text="Hello",
        status="delivered",
        wa_message_id="3EB0AA11",
    )
    tenant.database.outcomes.apply([arrived.model_dump(mode="json", exclude_none=True)])
    body = {"to": f"+{PHONE}", "text": "Hi", "reply_to": str(arrived.id)}
    answer = tenant.post("/v1/messages", body)
    assert quote_of(tenant, answer) == "Hello"
    record = find_record(tenant.client, UUID(answer.json()["id"]))
    assert record
    assert b"3EB0AA11" in (record.body or b"")


def test_a_message_to_another_person_is_refused(tenant: Tenant) -> None:
    answered = store(tenant, tenant.add_integration("42"))
    body = {"to": "+79990003344", "text": "Yes", "reply_to": answered}
    answer = tenant.post("/v1/messages", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "reply_to"
    assert "another recipient" in answer.json()["detail"]


def test_an_unknown_message_is_not_found(tenant: Tenant) -> None:
    """So is the message of another organization."""
    tenant.add_integration("42")
    body = {"to": f"+{PHONE}", "text": "Yes", "reply_to": str(uuid4())}
    answer = tenant.post("/v1/messages", body)
    assert (answer.status_code, "reply_to" in answer.json()["detail"]) == (404, True)


def test_a_repeated_reply_needs_the_answered_message_no_more(tenant: Tenant) -> None:
    """Its record answers for it, even if the row was deleted since."""
    answered = store(tenant, tenant.add_integration("42"))
    body = {"to": f"+{PHONE}", "text": "Yes", "reply_to": answered}
    first = tenant.post("/v1/messages", body, key="one")
    row = tenant.database.messages.get(UUID(answered), tenant.id)
    assert row
    gone = {**body, "reply_to": str(uuid4())}
    again = tenant.post("/v1/messages", body, key="one")
    assert (again.json()["id"], again.status_code) == (first.json()["id"], 202)
    assert tenant.post("/v1/messages", gone, key="one").status_code == 422


@pytest.mark.parametrize("known", [False, True])
def test_a_location_names_its_substitute_once_it_is_known(
    tenant: Tenant,
    known: bool,  # noqa: FBT001
) -> None:
    """After the platform has answered that it lacks the route."""
    tenant.add_integration("42")
    if known:
        tenant.client.set(keys.NO_LOCATION_ROUTE, 1)
    body = {"to": f"+{PHONE}", "location": {"lat": 55.75, "lng": 37.62}}
    answer = tenant.post("/v1/messages", body).json()
    assert answer["substitutes"] == (["map_link"] if known else [])

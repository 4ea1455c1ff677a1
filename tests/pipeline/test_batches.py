"""Batches, held answers and both producers, through every process."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg

from shared.events import Message
from shared.lanes.types import Accepted
from shared.producer import AsyncProducer
from tests.fixtures.system import System, connect_integration, texts_sent_to
from tests.fixtures.waiting import wait_until

Connected = tuple[UUID, dict[str, Any]]


def add_client(system: System, organization_id: UUID, phone: str) -> UUID:
    client_id = uuid4()
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "insert into public.clients (id, organization_id, name, phone) "
            "values (%s, %s, 'Anna', %s)",
            (client_id, organization_id, phone),
        )
    return client_id


def test_a_batch_reaches_its_recipients_in_order(system: System, number: Connected) -> None:
    """By phone and by client; a refused message changes nothing for the rest."""
    organization_id, integration = number
    phone = f"7998{uuid4().int % 10**7:07}"
    client_id = add_client(system, organization_id, f"8{phone[1:]}")
    messages: list[dict[str, Any]] = [
        {"to": phone, "text": "first"},
        {"client_id": str(client_id), "text": "second"},
        {"to": "12", "text": "to nobody"},
        *({"to": phone, "text": f"number {n}"} for n in range(20)),
    ]
    with system.service_client(organization_id) as crm:
        answer = crm.post("/v1/messages/batch", json={"messages": messages}).json()
        assert (answer["accepted"], answer["refused"]) == (22, 1)
        last = answer["items"][-1]["id"]
        wait_until(
            lambda: crm.get(f"/v1/messages/{last}").json()["status"] == "read",
            "the last message to be read",
        )
    expected = ["first", "second", *(f"number {n}" for n in range(20))]
    assert texts_sent_to(system, integration["account_number"], phone) == expected


def test_an_answer_is_held_until_the_platform_has_the_message(
    system: System, number: Connected
) -> None:
    """200 with the platform's id; a number that does not exist is told with its reason."""
    organization_id, _ = number
    refused = f"7998{uuid4().int % 10**7:07}"
    with system.service_client(organization_id) as crm, system.phone() as platform:
        headers = {"Prefer": "wait=20"}
        body = {"to": "+79990001177", "text": "Hello"}
        sent = crm.post("/v1/messages", json=body, headers=headers, timeout=30)
        assert (sent.status_code, sent.json()["status"]) == (200, "sent")
        assert sent.json()["task_id"]
        plan = {"refused_recipients": [refused]}
        platform.post("/admin/faults", json=plan).raise_for_status()
        try:
            body = {"to": refused, "text": "Hello"}
            failed = crm.post("/v1/messages", json=body, headers=headers, timeout=30)
        finally:
            platform.delete("/admin/faults").raise_for_status()
    assert (failed.status_code, failed.json()["status"]) == (200, "failed")
    assert "not on WhatsApp" in failed.json()["reason"]


def test_a_service_enqueues_many_with_asyncio(system: System, number: Connected) -> None:
    """They arrive in order, and a repetition sends nothing again."""
    organization_id, integration = number
    phone = f"7998{uuid4().int % 10**7:07}"
    messages = [Message(to=phone, text=f"number {n}") for n in range(60)]
    names = [f"{phone}-{n}" for n in range(60)]

    async def enqueue() -> list[UUID]:
        async with AsyncProducer.connect(system.environment["REDIS_URL"]) as producer:
            outcomes = await producer.send_many(organization_id, messages, names)
            return [each.id for each in outcomes if isinstance(each, Accepted)]

    ids = asyncio.run(enqueue())
    assert len(ids) == 60
    assert asyncio.run(enqueue()) == ids
    account = integration["account_number"]
    wait_until(lambda: len(texts_sent_to(system, account, phone)) == 60, "all to be sent")
    assert texts_sent_to(system, account, phone) == [f"number {n}" for n in range(60)]


def test_a_contact_is_answered_from_the_number_that_it_wrote_to(system: System) -> None:
    """Until that number is removed: then from the primary, from the same moment on."""
    organization_id = system.add_organization()
    first = connect_integration(system, organization_id)
    phone = f"7998{uuid4().int % 10**7:07}"
    with system.service_client(organization_id) as crm, system.phone() as phones:
        added = crm.post("/v1/integrations", json={"add_new": True}).headers["Location"]
        pending = wait_until(
            lambda: state if (state := crm.get(added).json())["qrcode"] else None, "a code"
        )
        second = pending["account_number"]
        phones.post(f"/phone/{second}/scan").raise_for_status()
        wait_until(lambda: crm.get(added).json()["status"] == "connected", "the second number")
        phones.post(f"/phone/{second}/messages", json={"from": f"+{phone}", "text": "Hi"})
        wait_until(
            lambda: [
                row
                for row in system.rows("chat_messages", organization_id=str(organization_id))
                if row["message_text"] == "Hi"
            ],
            "the row of the message",
        )

        def send() -> str:
            answer = crm.post("/v1/messages", json={"to": phone, "text": "Hello"})
            return str(answer.json()["integration_id"])

        # Each process remembers for 10 s how many numbers an organization has.
        wait_until(lambda: send() == pending["integration_id"], "the second number to be chosen")
        assert crm.delete(added).status_code == 202
        assert send() == first["integration_id"]

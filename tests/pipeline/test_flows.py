"""Sending, receiving and connecting over HTTP, through every process."""

from typing import Any
from uuid import UUID

from shared.events import Message
from shared.producer import Producer
from tests.fixtures.system import System, connect_integration, texts_sent_to
from tests.fixtures.waiting import wait_until

Connected = tuple[UUID, dict[str, Any]]


def test_a_message_is_sent_read_and_answered(system: System, number: Connected) -> None:
    """The recipient's answer becomes a row of the same contact."""
    organization_id, integration = number
    with system.service_client(organization_id) as crm, system.phone() as phone:
        accepted = crm.post("/v1/messages", json={"to": "8 (999) 000-11-33", "text": "Hello there"})
        assert accepted.status_code == 202
        place = accepted.headers["Location"]
        wait_until(lambda: crm.get(place).json()["status"] == "read", "the message to be read")
        account = integration["account_number"]
        assert texts_sent_to(system, account, "79990001133") == ["Hello there"]
        phone.post(
            f"/phone/{account}/messages",
            json={"from": "+79990001133", "name": "Anna", "text": "Hi"},
        )

    def find_both() -> dict[str, dict[str, Any]]:
        rows = {
            row["message_text"]: row
            for row in system.rows("chat_messages", organization_id=str(organization_id))
        }
        return rows if {"Hello there", "Hi"} <= rows.keys() else {}

    rows = wait_until(find_both, "both rows")
    assert rows["Hello there"]["message_status"] == "read"
    assert rows["Hello there"]["id"] == accepted.json()["id"]
    assert rows["Hi"]["is_outgoing"] is False
    assert rows["Hi"]["client_id"] == rows["Hello there"]["client_id"] is not None
    assert {row["integration_id"] for row in (rows["Hello there"], rows["Hi"])} == {
        integration["integration_id"]
    }


def test_a_service_enqueues_with_the_producer(system: System, number: Connected) -> None:
    """A service with access to Redis only enqueues a message and reads its state."""
    organization_id, integration = number
    with Producer.connect(system.environment["REDIS_URL"]) as producer:
        message = Message(to="+79990003344", text="Your code is 1234")
        accepted = producer.send(organization_id, message, idempotency_key="otp-1")
        assert producer.send(organization_id, message, idempotency_key="otp-1").id == accepted.id

        def settled() -> bool:
            record = producer.find(accepted.id)
            return record is not None and record.state == "sent"

        wait_until(settled, "the message to be sent")

    def read() -> list[dict[str, Any]]:
        return [
            row
            for row in system.rows("chat_messages", id=str(accepted.id))
            if row["message_status"] == "read"
        ]

    assert wait_until(read, "the row to be read")[0]["message_text"] == "Your code is 1234"
    assert texts_sent_to(system, integration["account_number"], "79990003344") == [
        "Your code is 1234"
    ]


def test_a_connect_of_a_connected_integration_returns_it(system: System, number: Connected) -> None:
    """The response is immediate, and no integration is created."""
    organization_id, integration = number
    with system.service_client(organization_id) as crm:
        again = crm.post("/v1/integrations", json={})
        assert again.status_code == 200
        assert again.json()["status"] == "connected"
        assert again.json()["integration_id"] == integration["integration_id"]


def test_add_new_creates_another_client_of_the_platform(system: System) -> None:
    """The first integration stays primary; each has its own account."""
    organization_id = system.add_organization()
    first = connect_integration(system, organization_id)
    with system.service_client(organization_id) as crm:
        added = crm.post("/v1/integrations", json={"add_new": True, "name": "Second"})
        assert added.status_code == 202
        place = added.headers["Location"]
        second = wait_until(lambda: _started(crm.get(place).json()), "the second number's code")
        numbers = crm.get("/v1/integrations").json()
    assert second["account_number"] != first["account_number"]
    assert [(each["name"], each["is_primary"]) for each in numbers] == [
        ("WhatsApp", True),
        ("Second", False),
    ]


def test_the_messages_of_a_disconnected_integration_stay(system: System) -> None:
    """The integration is no longer listed."""
    organization_id = system.add_organization()
    integration = connect_integration(system, organization_id)
    place = f"/v1/integrations/{integration['integration_id']}"
    with system.service_client(organization_id) as crm:
        sent = crm.post("/v1/messages", json={"to": "+79990005566", "text": "Bye"}).headers[
            "Location"
        ]
        wait_until(lambda: crm.get(sent).json()["status"] == "read", "the message to be read")
        assert crm.delete(place).status_code == 202
        wait_until(lambda: crm.get("/v1/integrations").json() == [], "no number left")
        assert crm.get(sent).json()["status"] == "read"
    assert len(system.rows("chat_messages", organization_id=str(organization_id))) == 1


def _started(state: dict[str, Any]) -> dict[str, Any] | None:
    return state if state["qrcode"] else None

"""Temporary failures fail no message and mark no integration: messages wait, in order."""

from typing import Any
from uuid import UUID

import redis

from shared.events import Message
from shared.producer import Producer
from tests.fixtures.system import System, connect_integration, texts_sent_to
from tests.fixtures.waiting import wait_until

PEER = "79990008101"


def states(producer: Producer, ids: list[UUID]) -> set[str]:
    return {record.state for each in ids if (record := producer.find(each))}


def reason(producer: Producer, event_id: UUID) -> str:
    record = producer.find(event_id)
    return record.reason or "" if record else ""


def send_five(producer: Producer, organization_id: UUID) -> list[UUID]:
    return [
        producer.send(organization_id, Message(to=PEER, text=f"Waiting {n}")).id for n in range(5)
    ]


def shown(system: System, organization_id: UUID, number: dict[str, Any]) -> str:
    with system.service_client(organization_id) as crm:
        status: str = crm.get(f"/v1/integrations/{number['integration_id']}").json()["status"]
        return status


def test_a_platform_that_is_being_deployed_loses_nothing(system: System) -> None:
    """404 for every path, as from a proxy, fails no message and marks no integration."""
    organization_id = system.add_organization()
    number = connect_integration(system, organization_id)
    with system.phone() as phone, redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        phone.post("/admin/faults", json={"rate_404": 1, "paths": ".*"}).raise_for_status()
        producer = Producer(client)
        ids = send_five(producer, organization_id)
        wait_until(
            lambda: "WPP_BASE_URL" in reason(producer, ids[0]),
            "the first message to say why it waits",
        )
        assert states(producer, ids) == {"queued"}
        assert shown(system, organization_id, number) == "connected"
        phone.delete("/admin/faults").raise_for_status()
        wait_until(lambda: states(producer, ids) == {"sent"}, "every message to go out")
    assert texts_sent_to(system, number["account_number"], PEER) == [
        f"Waiting {n}" for n in range(5)
    ]


def test_messages_wait_until_the_phone_is_linked_again(system: System) -> None:
    """The platform refuses them meanwhile; then they are sent in order."""
    organization_id = system.add_organization()
    number = connect_integration(system, organization_id)
    account = number["account_number"]
    with (
        system.service_client(organization_id) as crm,
        system.phone() as phone,
        redis.Redis.from_url(system.environment["REDIS_URL"]) as client,
    ):
        phone.post(f"/phone/{account}/unlink").raise_for_status()
        producer = Producer(client)
        ids = send_five(producer, organization_id)
        wait_until(
            lambda: "not connected" in reason(producer, ids[0]),
            "the first message to say why it waits",
        )
        assert states(producer, ids) == {"queued"}
        crm.post(f"/v1/integrations/{number['integration_id']}/reconnect").raise_for_status()
        wait_until(lambda: phone.post(f"/phone/{account}/scan").is_success, "a code to scan")
        wait_until(
            lambda: states(producer, ids) == {"sent"}, "every message to go out", within_s=30
        )
    assert texts_sent_to(system, account, PEER) == [f"Waiting {n}" for n in range(5)]

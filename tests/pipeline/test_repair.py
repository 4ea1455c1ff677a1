"""Messages wait for the repair of a refused key."""

from uuid import UUID

import httpx
import redis

from shared.events import Message
from shared.producer import Producer
from shared.redis import keys
from tests.fixtures.system import System, connect_integration, texts_sent_to
from tests.fixtures.waiting import wait_until

PEER = "79990008001"


def revoke_key(phone: httpx.Client, account: str) -> None:
    phone.post("/admin/faults", json={"revoked_keys": [account]}).raise_for_status()


def read_states(producer: Producer, ids: list[UUID]) -> set[str]:
    return {record.state for event_id in ids if (record := producer.find(event_id))}


def count_refused_calls(phone: httpx.Client) -> int:
    """Return how often a key was refused: tokens of numbers with a good key are made meanwhile."""
    calls = phone.get("/admin/ledger").json()["requests"].get("POST /auth/token", {})
    return int(calls.get("403", 0))


def test_messages_wait_for_the_repair_of_a_key_and_are_sent_in_order(system: System) -> None:
    """With a revoked key no message fails, and the integration names the repair."""
    organization_id = system.add_organization()
    integration = connect_integration(system, organization_id)
    account = integration["account_number"]
    url = f"/v1/integrations/{integration['integration_id']}"
    with (
        system.service_client(organization_id) as crm,
        system.phone() as phone,
        redis.Redis.from_url(system.environment["REDIS_URL"]) as client,
    ):
        revoke_key(phone, account)
        client.delete(*client.keys(keys.token(account) + "*"))  # as after a quarter of an hour
        system.forget_token(integration["integration_id"])
        calls_before = count_refused_calls(phone)
        producer = Producer(client)
        ids: list[UUID] = [
            producer.send(organization_id, Message(to=PEER, text=f"Waiting {n}")).id
            for n in range(5)
        ]
        error = wait_until(lambda: crm.get(url).json()["error"], "the error of the integration")
        assert "force_recreate" in error
        wait_until(  # the claim that found the key refused ends a moment after the error is told
            lambda: read_states(producer, ids) == {"queued"},
            "all messages to wait: none fails, none is sent with a refused key",
        )
        refused = count_refused_calls(phone) - calls_before
        assert 1 <= refused <= 2, "the refused key was tried too often"
        body = {"force_recreate": True, "integration_id": integration["integration_id"]}
        assert crm.post("/v1/integrations", json=body).status_code == 202
        wait_until(lambda: read_states(producer, ids) == {"sent"}, "all messages to be sent")
    assert texts_sent_to(system, account, PEER) == [f"Waiting {n}" for n in range(5)]

"""A key that the platform refuses holds its lanes, and fails no message."""

from uuid import UUID

import httpx
import redis

from shared.events import Message
from shared.producer import Producer
from shared.redis import keys
from tests.fixtures.system import System, connect_integration, texts_sent_to
from tests.fixtures.waiting import wait_until

PEER = "79990008001"


def revoke(phone: httpx.Client, account: str) -> None:
    phone.post("/admin/faults", json={"revoked_keys": [account]}).raise_for_status()


def minted(phone: httpx.Client, account: str) -> int:
    return int(phone.get("/admin/ledger").json()["tokens"].get(account, {}).get("minted", 0))


def token_calls(phone: httpx.Client) -> int:
    return sum(phone.get("/admin/ledger").json()["requests"].get("POST /auth/token", {}).values())


def test_messages_wait_for_the_repair_of_a_key_and_go_out_in_order(system: System) -> None:
    """Revoked: nothing fails, and the integration says what to do. Repaired: all go out, in order."""
    organization_id = system.add_organization()
    integration = connect_integration(system, organization_id)
    account, place = (
        integration["account_number"],
        f"/v1/integrations/{integration['integration_id']}",
    )
    with (
        system.service_client(organization_id) as crm,
        system.phone() as phone,
        redis.Redis.from_url(system.environment["REDIS_URL"]) as client,
    ):
        revoke(phone, account)
        client.delete(*client.keys(keys.token(account) + "*"))  # as after a quarter of an hour
        system.forget_token(integration["integration_id"])
        asked = token_calls(phone)
        producer = Producer(client)
        ids: list[UUID] = [
            producer.send(organization_id, Message(to=PEER, text=f"Waiting {n}")).id
            for n in range(5)
        ]
        shown = wait_until(
            lambda: crm.get(place).json()["error"], "the integration to say what is wrong"
        )
        assert "force_recreate" in shown
        states = {record.state for each in ids if (record := producer.find(each))}
        assert states == {"queued"}, "a message failed or went out with a refused key"
        assert token_calls(phone) - asked <= 2, "the platform was hammered with a refused key"
        body = {"force_recreate": True, "integration_id": integration["integration_id"]}
        assert crm.post("/v1/integrations", json=body).status_code == 202
        wait_until(
            lambda: {record.state for each in ids if (record := producer.find(each))} == {"sent"},
            "every message to go out",
        )
    assert texts_sent_to(system, account, PEER) == [f"Waiting {n}" for n in range(5)]

"""Messages with an unknown delivery are resolved, dead letters are replayed."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import redis

from shared.database import Database, DeadLetterQuery
from shared.events import Message
from shared.lanes.client import Lanes
from shared.producer import Producer
from shared.redis import keys
from shared.routing import integration_gate
from shared.settings import EngineSettings, SupabaseSettings
from tests.fixtures.system import System, connect_integration, texts_sent_to, wait_until_read
from tests.fixtures.waiting import wait_until
from workers.dead_letters import Replayer

Connected = tuple[UUID, dict[str, Any]]
PEER = "79990009{:03d}"


@pytest.fixture
def client(system: System) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as connected:
        yield connected


@pytest.fixture
def database(system: System) -> Iterator[Database]:
    settings = {
        name.lower(): value
        for name, value in system.environment.items()
        if name.startswith("SUPABASE_")
    }
    with httpx.Client(trust_env=False) as http:
        yield Database(SupabaseSettings.model_validate(settings), http)


@pytest.fixture
def producer(client: redis.Redis) -> Producer:
    return Producer(client)


def get_state(producer: Producer, event_id: UUID) -> str:
    record = producer.find(event_id)
    return record.state if record else "none"


def send_without_answer(
    system: System, producer: Producer, number: Connected, text: str, peer: str
) -> UUID:
    """Send a message without an answer; return its id once its delivery is unknown.

    It stays unknown: the platform reports none of its steps.
    """
    organization_id, integration = number
    with system.phone() as phone:
        plan = {"drop_after": 1.0, "paths": "^/api/messages/text$", "mute": True}
        phone.post("/admin/faults", json=plan).raise_for_status()
        accepted = producer.send(organization_id, Message(to=peer, text=text))
        wait_until(
            lambda: get_state(producer, accepted.id) == "unknown", "the message to be unknown"
        )
        wait_until_read(system, integration["account_number"], peer)
        phone.delete("/admin/faults").raise_for_status()
    return accepted.id


def test_a_message_with_a_lost_answer_is_not_sent_again(
    system: System, producer: Producer, number: Connected
) -> None:
    """The platform has it once, its row is unknown, and a resolution settles it."""
    organization_id, integration = number
    peer = PEER.format(1)
    message_id = send_without_answer(system, producer, number, "Perhaps", peer)
    wait_until(
        lambda: (
            [row["message_status"] for row in system.rows("chat_messages", id=str(message_id))]
            == ["unknown"]
        ),
        "the row to be unknown",
    )
    assert texts_sent_to(system, integration["account_number"], peer) == ["Perhaps"]
    with system.service_client(organization_id) as crm:
        settled = crm.post(f"/v1/messages/{message_id}/resolution", json={"outcome": "sent"})
        assert settled.status_code == 200
        assert (
            crm.post(f"/v1/messages/{message_id}/resolution", json={"outcome": "sent"}).status_code
            == 409
        )
        wait_until(
            lambda: crm.get(f"/v1/messages/{message_id}").json()["status"] == "sent",
            "the message to be sent",
        )
    assert texts_sent_to(system, integration["account_number"], peer) == ["Perhaps"]


def test_the_resolution_again_sends_a_message_twice(
    system: System, producer: Producer, number: Connected
) -> None:
    """The message goes back into its lane; its recipient may get it twice."""
    organization_id, integration = number
    peer = PEER.format(2)
    message_id = send_without_answer(system, producer, number, "Once more", peer)
    with system.service_client(organization_id) as crm:
        assert (
            crm.post(f"/v1/messages/{message_id}/resolution", json={"outcome": "again"}).status_code
            == 200
        )
    wait_until(lambda: get_state(producer, message_id) == "sent", "the message to be sent")
    assert texts_sent_to(system, integration["account_number"], peer) == ["Once more", "Once more"]


def test_an_echo_settles_an_unknown_message_as_sent(
    system: System, producer: Producer, number: Connected
) -> None:
    """The echo of the phone is the same message, not a second message."""
    organization_id, integration = number
    peer = PEER.format(3)
    message_id = send_without_answer(system, producer, number, "Did it arrive?", peer)
    with system.phone() as phone:
        echo = {"to": f"+{peer}", "text": "Did it arrive?"}
        phone.post(f"/phone/{integration['account_number']}/echo", json=echo).raise_for_status()
    wait_until(lambda: get_state(producer, message_id) == "sent", "the message to be settled")

    def row_is_sent() -> bool:
        return [
            row["message_status"] for row in system.rows("chat_messages", id=str(message_id))
        ] == ["sent"]

    wait_until(row_is_sent, "the row to be sent")
    rows = system.rows(
        "chat_messages", organization_id=str(organization_id), message_text="Did it arrive?"
    )
    assert [row["id"] for row in rows] == [str(message_id)]


def test_the_policy_resend_sends_a_message_with_a_lost_answer_again(system: System) -> None:
    """The organization accepts duplicates."""
    organization_id = system.add_organization()
    with psycopg.connect(system.database_url) as connection:
        connection.execute(
            "insert into public.wpp_policies (organization_id, unknown) values (%s, 'resend')",
            (organization_id,),
        )
    integration = connect_integration(system, organization_id)
    peer = PEER.format(4)
    with system.phone() as phone, system.service_client(organization_id) as crm:
        plan = {"drop_after": 1.0, "limit": 1, "paths": "^/api/messages/text$"}
        phone.post("/admin/faults", json=plan).raise_for_status()
        sent = crm.post("/v1/messages", json={"to": peer, "text": "At least once"}).headers[
            "Location"
        ]
        wait_until(lambda: crm.get(sent).json()["status"] == "read", "the message to be read")
        phone.delete("/admin/faults").raise_for_status()
    assert texts_sent_to(system, integration["account_number"], peer) == ["At least once"] * 2


def test_a_refused_message_can_be_replayed_once(
    system: System, producer: Producer, client: redis.Redis, database: Database, number: Connected
) -> None:
    """The platform refuses it; replayed after the repair, it is sent once."""
    organization_id, integration = number
    peer = PEER.format(5)
    with system.phone() as phone:
        phone.post("/admin/faults", json={"refused_recipients": [peer]}).raise_for_status()
        accepted = producer.send(organization_id, Message(to=peer, text="Refused at first"))
        wait_until(lambda: get_state(producer, accepted.id) == "failed", "the message to fail")
        phone.delete("/admin/faults").raise_for_status()
    query = DeadLetterQuery(ids=[accepted.id], organization_id=organization_id, reason="refused")
    letters = wait_until(lambda: database.dead_letters.find(query), "a dead letter")
    replayer = Replayer(client, Lanes(client, EngineSettings()), database, per_second=1000)
    assert replayer.replay(letters) == (1, 0)
    assert replayer.replay(letters) == (0, 1)
    wait_until(lambda: get_state(producer, accepted.id) == "sent", "the message to be sent")
    assert texts_sent_to(system, integration["account_number"], peer) == ["Refused at first"]
    assert database.dead_letters.find(query) == []


def test_a_message_without_a_record_costs_its_conversation_nothing(
    system: System, producer: Producer, client: redis.Redis, database: Database, number: Connected
) -> None:
    """The next message goes out; the lost one is shown as unknown and as a dead letter."""
    organization_id, integration = number
    peer = PEER.format(9)
    lanes, gate = (
        Lanes(client, EngineSettings()),
        integration_gate(UUID(integration["integration_id"])),
    )
    lanes.close_gate(gate, 60, "prepared by the test")
    gone, following = (
        producer.send(organization_id, Message(to=peer, text=text)).id for text in ("Gone", "Next")
    )
    wait_until(lambda: system.rows("chat_messages", id=str(gone)), "the row of the message")
    client.delete(keys.event(gone))
    lanes.open_gate(gate)
    wait_until(lambda: get_state(producer, following) == "sent", "the next message to be sent")
    assert texts_sent_to(system, integration["account_number"], peer) == ["Next"]
    (letter,) = wait_until(
        lambda: database.dead_letters.find(DeadLetterQuery(ids=[gone])), "the dead letter"
    )
    assert (letter.reason, letter.organization_id) == ("record_lost", organization_id)
    (row,) = system.rows("chat_messages", id=str(gone))
    assert (row["message_status"], row["message_text"]) == ("unknown", "Gone")
    assert "conflicts" not in row["metadata"]

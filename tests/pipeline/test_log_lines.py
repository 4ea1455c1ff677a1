"""Each failure leaves exactly its lines in the log, once: played on the whole system."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import redis

from shared.events import Message, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import Append
from shared.producer import Producer
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.service_keys import store_operator_key
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

PEER = "799900077{:02d}"


class Number:
    """A connected number of a new organization, and what the log tells about it from now on."""

    def __init__(self, system: System, client: redis.Redis, phone: httpx.Client) -> None:
        self.system = system
        self.client = client
        self.phone = phone
        self.organization_id = system.add_organization()
        self.integration = connect_integration(system, self.organization_id)
        self.account: str = self.integration["account_number"]
        self._wait_for_told(["number.up"])
        self._begin = system.log.stat().st_size

    def send(self, peer: str, **options: Any) -> UUID:
        message = Message(to=peer, text="Hello", **options)
        return Producer(self.client).send(self.organization_id, message).id

    def post(self, path: str, body: Any = None) -> None:
        with self.system.service_client(self.organization_id) as crm:
            crm.post(path, json=body).raise_for_status()

    def fail(self, **plan: Any) -> None:
        self.phone.post("/admin/faults", json=plan).raise_for_status()

    def told(self) -> list[dict[str, Any]]:
        """Return the transitions from `info` on, in the order of the log."""
        with self.system.log.open("rb") as file:
            file.seek(getattr(self, "_begin", 0))
            written = file.read().decode(errors="replace")
        lines = [
            json.loads(line[line.index("{") :])
            for line in written.splitlines()
            if '"logger":"transitions"' in line and line.endswith("}")
        ]
        return [line for line in lines if self._is_mine(line) and line["level"] != "debug"]

    def events(self) -> list[str]:
        return [line["event"] for line in self.told()]

    def wait_for(self, *events: str, within_s: float = 30) -> list[dict[str, Any]]:
        """Return the lines once they are exactly these, in any order: processes race."""
        self._wait_for_told(list(events), within_s)
        return self.told()

    def _wait_for_told(self, events: list[str], within_s: float = 30) -> None:
        expected = Counter(events)
        wait_until(
            lambda: Counter(self.events()) >= expected, f"the lines {events}", within_s=within_s
        )
        assert Counter(self.events()) == expected

    def _is_mine(self, line: dict[str, Any]) -> bool:
        return (
            str(self.organization_id) in {line.get("organization_id"), line.get("organization")}
            or line.get("account") == self.account
        )


@pytest.fixture
def make_number(system: System) -> Iterator[Callable[[], Number]]:
    """Return a function that connects a new number; faults end with the test."""
    with (
        redis.Redis.from_url(system.environment["REDIS_URL"]) as client,
        system.phone() as phone,
    ):
        yield lambda: Number(system, client, phone)
        phone.delete("/admin/faults").raise_for_status()


def test_messages_that_end_badly(make_number: Callable[[], Number]) -> None:
    """Refused, given up by the platform later, and lost: a line each, with the reason."""
    number = make_number()
    refused, dead, lost = (PEER.format(n) for n in range(3))
    number.fail(refused_recipients=[refused], dead_recipients=[dead])
    refused_id = number.send(refused)
    number.send(dead)
    (failed,) = [
        line
        for line in number.wait_for("message.failed", "message.given_up")
        if line["event"] == "message.failed"
    ]
    assert (failed["event_id"], failed["code"]) == (str(refused_id), "refused")
    assert failed["integration_id"] == number.integration["integration_id"]
    assert failed["reason"]

    number.fail(drop_after=1, paths="^/api/messages/text$", mute=True)  # no report proves it
    lost_id = number.send(lost)
    seen = number.wait_for("message.failed", "message.given_up", "message.unknown")
    assert seen[-1]["event_id"] == str(lost_id)
    number.post(f"/v1/messages/{lost_id}/resolution", {"outcome": "failed"})
    number.wait_for("message.failed", "message.given_up", "message.unknown", "message.resolved")


def test_a_phone_that_is_unlinked_and_linked_again(make_number: Callable[[], Number]) -> None:
    """The number goes down, its gate closes; a message expires meanwhile; both come back."""
    number = make_number()
    number.phone.post(f"/phone/{number.account}/unlink").raise_for_status()
    number.wait_for("number.down")
    number.send(PEER.format(10), expires_in_s=2)
    number.send(PEER.format(11))
    down = number.wait_for("number.down", "gate.closed", "message.expired")
    (closed,) = [line for line in down if line["event"] == "gate.closed"]
    assert closed["waiting"] >= 1
    assert "not connected" in closed["reason"]
    assert next(line for line in down if line["event"] == "number.down")["reason"]

    number.post(f"/v1/integrations/{number.integration['integration_id']}/reconnect")
    scan = f"/phone/{number.account}/scan"
    wait_until(lambda: number.phone.post(scan).is_success, "a code to scan")
    number.wait_for("number.down", "gate.closed", "message.expired", "number.up", "gate.opened")


def test_a_key_that_is_revoked_and_repaired(make_number: Callable[[], Number]) -> None:
    """One line although the key is tried again every minute."""
    number = make_number()
    number.fail(revoked_keys=[number.account])
    number.client.delete(*number.client.keys(keys.token(number.account) + "*"))
    number.system.forget_token(number.integration["integration_id"])
    for n in range(3):
        number.send(PEER.format(20 + n))
    lines = number.wait_for("gate.closed", "key.refused")
    assert {line["level"] for line in lines if line["event"] == "key.refused"} == {"error"}
    integration_id = number.integration["integration_id"]
    number.post("/v1/integrations", {"force_recreate": True, "integration_id": integration_id})
    number.wait_for("gate.closed", "key.refused", "gate.opened")


def test_an_account_that_answers_500(make_number: Callable[[], Number]) -> None:
    """The breaker opens and closes once, and so does the gate of the number.

    It opens when at least half of 20 calls failed: successful calls of the pairing count too.
    """
    number = make_number()
    number.fail(failing_accounts=[number.account])
    peers = cycle(range(30, 100))

    def send_until_closed() -> bool:
        """Calls that began before the breaker opened close no gate: the next message does."""
        number.send(PEER.format(next(peers)))
        return "gate.closed" in number.events()

    wait_until(send_until_closed, "the gate to close", within_s=40)
    number.fail()
    both = {"gate.opened", "breaker.closed"}  # of different processes: their lines race
    wait_until(lambda: both <= set(number.events()), "gate and breaker", within_s=60)
    counts = Counter(number.events())
    assert counts.pop("message.unknown") >= 10
    once = ("breaker.opened", "breaker.closed", "gate.closed", "gate.opened")
    assert counts == dict.fromkeys(once, 1)


def test_a_message_that_is_taken_back(make_number: Callable[[], Number]) -> None:
    """One line, although it is taken back twice."""
    number = make_number()
    message_id = number.send(PEER.format(12), send_at=utc_now() + timedelta(days=1))
    for _ in range(2):
        number.post(f"/v1/messages/{message_id}/cancel")
    (cancelled,) = number.wait_for("message.cancelled")
    assert cancelled["event_id"] == str(message_id)


def test_a_dead_letter_that_is_replayed(make_number: Callable[[], Number]) -> None:
    """One line, although an operator presses the button twice."""
    number = make_number()
    peer = PEER.format(13)
    number.fail(refused_recipients=[peer])
    message_id = number.send(peer)
    number.wait_for("message.failed")
    number.phone.delete("/admin/faults").raise_for_status()
    wait_until(lambda: number.system.rows("wpp_dead_letters", id=str(message_id)), "a dead letter")
    key = store_operator_key(number.system.database_url)
    origin = {"Origin": number.system.url}
    with httpx.Client(base_url=number.system.url, headers=origin, trust_env=False) as http:
        http.post("/console/session", json={"key": key}).raise_for_status()
        token = http.get("/console/session").raise_for_status().json()["csrf_token"]
        for _ in range(2):
            place = f"/console/data/dead-letters/{message_id}/replay"
            http.post(place, json={}, headers={"X-CSRF-Token": token}).raise_for_status()
    (replayed,) = [
        line
        for line in number.wait_for("message.failed", "dead_letter.replayed")
        if line["event"] == "dead_letter.replayed"
    ]
    assert replayed["event_id"] == str(message_id)


def test_an_event_that_cannot_be_read(make_number: Callable[[], Number]) -> None:
    """One line, after the last of its tries."""
    number = make_number()
    organization = str(number.organization_id)
    malformed = Append(
        id=uuid4(),
        queue="webhook",
        lane=f"{number.account}:malformed",
        tenant=organization,
        body=json.dumps({"organization_id": organization, "kind": "webhook"}),
        max_age_s=2,  # else it is tried for a minute or two
    )
    Lanes(number.client, EngineSettings()).append(malformed)
    (dead,) = number.wait_for("event.dead_lettered")
    assert (dead["event_id"], dead["kind"]) == (str(malformed.id), "webhook")
    assert dead["reason"]


def test_an_organization_whose_rows_are_locked(make_number: Callable[[], Number]) -> None:
    """A line when it is set aside and a line when it is resumed, whatever is retried between."""
    number = make_number()
    organization = str(number.organization_id)
    peer = PEER.format(14)

    def write() -> None:
        place = f"/phone/{number.account}/messages"
        number.phone.post(place, json={"from": f"+{peer}", "text": "Hello"}).raise_for_status()

    write()
    wait_until(lambda: number.system.rows("clients", organization_id=organization), "the client")
    with psycopg.connect(number.system.database_url) as crm:
        crm.execute("select from clients where organization_id = %s for update", (organization,))
        write()
        (line,) = number.wait_for("organization.set_aside", within_s=60)
        assert line["action"]
        crm.rollback()
    number.wait_for("organization.set_aside", "organization.resumed", within_s=90)
    assert len(number.system.rows("chat_messages", organization_id=organization)) == 2

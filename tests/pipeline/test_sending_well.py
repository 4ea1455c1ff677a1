"""Dates, priorities and cancellation, from the request to the phone and the row."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis

from shared.events import Message
from shared.lanes.records import find_records
from shared.producer import Producer
from tests.fixtures.system import System, connect_integration, texts_sent_to
from tests.fixtures.waiting import wait_until

PEER = "7999000{:04}"
CAMPAIGN = 300


@pytest.fixture(scope="module")
def organization(system: System) -> UUID:
    return system.add_organization()


@pytest.fixture(scope="module")
def account(system: System, organization: UUID) -> str:
    number: str = connect_integration(system, organization)["account_number"]
    return number


@pytest.fixture
def crm(system: System, organization: UUID, account: str) -> Iterator[httpx.Client]:
    del account  # asked for because it connects the number
    with system.service_client(organization) as client:
        yield client


@pytest.fixture
def client(system: System) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as connected:
        yield connected


def post(crm: httpx.Client, peer: int, text: str, **more: object) -> str:
    body = {"to": PEER.format(peer), "text": text, **more}
    answer = crm.post("/v1/messages", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def status(crm: httpx.Client, path: str) -> str:
    found: str = crm.get(path).json()["status"]
    return found


def find_row(system: System, path: str) -> dict[str, Any] | None:
    rows = system.rows("chat_messages", id=path.rsplit("/", 1)[-1])
    return rows[0] if rows else None


def row_status(system: System, path: str) -> str | None:
    row = find_row(system, path)
    return str(row["message_status"]) if row else None


def test_a_scheduled_message_lets_others_go_first(
    system: System, crm: httpx.Client, account: str
) -> None:
    """Its row says `queued` meanwhile."""
    at = datetime.now(UTC) + timedelta(seconds=6)
    later = post(crm, 1, "Later", send_at=at.isoformat())
    now = post(crm, 1, "Now")
    assert status(crm, later) == "scheduled"
    wait_until(
        lambda: status(crm, now) in {"sent", "delivered", "read"}, "the other message to go out"
    )
    wait_until(lambda: row_status(system, later) == "queued", "its row")
    wait_until(lambda: texts_sent_to(system, account, PEER.format(1)) == ["Now", "Later"], "both")
    assert datetime.now(UTC) >= at


def test_a_cancelled_message_never_goes_out(
    system: System, crm: httpx.Client, account: str
) -> None:
    path = post(crm, 2, "Never", delay_s=5)
    due = datetime.now(UTC) + timedelta(seconds=6)
    assert crm.post(f"{path}/cancel").json()["status"] == "cancelled"
    wait_until(lambda: row_status(system, path) == "failed", "its row")
    row = find_row(system, path)
    assert row
    assert (row["metadata"]["error"], row["metadata"]["retry_count"]) == (
        "cancelled before it was sent",
        99,
    )
    wait_until(lambda: datetime.now(UTC) > due, "its date to pass")
    marker = post(crm, 2, "Marker")
    wait_until(lambda: status(crm, marker) in {"sent", "delivered", "read"}, "the marker")
    assert texts_sent_to(system, account, PEER.format(2)) == ["Marker"]
    assert status(crm, path) == "cancelled"


def test_a_message_whose_number_was_removed_fails_at_its_date(
    system: System,
) -> None:
    organization = system.add_organization()
    number = connect_integration(system, organization)
    with system.service_client(organization) as crm:
        path = post(crm, 3, "Too late", delay_s=8, integration_id=number["integration_id"])
        removed = crm.delete(f"/v1/integrations/{number['integration_id']}")
        assert removed.is_success, removed.text
        found = wait_until(
            lambda: (answer := crm.get(path).json())["status"] == "failed" and answer,
            "the message to fail",
            within_s=90,
        )
    assert found["code"] in {"not_found", "integration_not_found", "disabled"}, found
    assert found["reason"]


def test_a_code_overtakes_a_campaign_of_its_organization(
    system: System, client: redis.Redis, crm: httpx.Client, organization: UUID, account: str
) -> None:
    """Also the code to the last recipient of the campaign."""
    with system.phone() as phone:
        phone.post("/admin/faults", json={"latency_s": 2, "paths": "^/api/"}).raise_for_status()
        producer = Producer(client)
        campaign = [
            producer.send(
                organization, Message(to=PEER.format(100 + n), text=f"Sale {n}", priority="low")
            ).id
            for n in range(CAMPAIGN)
        ]

        def count_sent() -> int:
            found = find_records(client, campaign).values()
            return sum(record.state == "sent" for record in found)

        wait_until(lambda: count_sent() > 5, "the campaign to begin")
        codes = [post(crm, peer, "Code 1234", priority="high") for peer in (4, 100 + CAMPAIGN - 1)]
        wait_until(
            lambda: all(status(crm, each) in {"sent", "delivered", "read"} for each in codes),
            "the codes to go out",
            within_s=60,
        )
        sent = count_sent()
        phone.delete("/admin/faults").raise_for_status()
    assert sent < CAMPAIGN - 50, f"{sent} of the campaign went first"
    last = PEER.format(100 + CAMPAIGN - 1)
    assert texts_sent_to(system, account, last) == [f"Sale {CAMPAIGN - 1}", "Code 1234"]
    wait_until(lambda: count_sent() == CAMPAIGN, "the campaign to end", within_s=90)


def test_of_a_race_between_cancelling_and_sending_exactly_one_wins(
    system: System, crm: httpx.Client, account: str
) -> None:
    paths = [post(crm, 500 + n, f"Race {n}", delay_s=3) for n in range(40)]
    answers: dict[str, int] = {}

    def cancel_all() -> None:
        for path in paths:
            answers[path] = crm.post(f"{path}/cancel").status_code

    wait_until(lambda: status(crm, paths[0]) != "scheduled", "the first to be due")
    racer = threading.Thread(target=cancel_all)
    racer.start()
    racer.join()
    ended = {"cancelled", "sent", "delivered", "read"}
    wait_until(lambda: all(status(crm, each) in ended for each in paths), "all to end")
    for n, path in enumerate(paths):
        reached = texts_sent_to(system, account, PEER.format(500 + n))
        assert answers[path] in {200, 409}
        assert reached == ([] if answers[path] == 200 else [f"Race {n}"])

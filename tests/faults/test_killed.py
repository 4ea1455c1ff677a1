"""A worker with a hundred events in its hands is killed on an otherwise idle system, with the engine's own times."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.events import Message
from shared.lanes import records
from shared.producer import Producer
from shared.redis import keys
from tests.faults.audit import drained, keep_promises, read_books
from tests.faults.callers import Callers, Sent, conversations
from tests.faults.conftest import Say, StartFleet, until
from tests.faults.environment import Town, quick

WITHIN_S = 30.0
BLOCKED_S = 15.0
"""How long the platform holds each call: longer than it takes to have a hundred of them, shorter than the deadline."""


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_hundred_sends_of_a_killed_worker_are_settled_within_30_s(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """Those that the platform was being asked for become unknown, and what waits behind them goes out, in order."""
    tag = f"killed-{time.time_ns()}"
    fleet = start_fleet(
        {"SEND_THREADS": "128"}, {"web": 1, "send": 1, "webhook": 1, "record": 1, "clock": 1}
    )
    callers = Callers(town, tag, conversations(town, 13))
    callers.send(1)
    drained(town, 60)  # tokens and routes are known from here on
    town.fail(latency_s=BLOCKED_S)
    heads = callers.send(1, first=1)[104:]
    until(lambda: _busy(town, "send") == len(heads), "all of them claimed", within_s=10)
    accepted = callers.send(1, first=2)
    fleet.one("send").kill()
    killed = time.monotonic()
    town.fail()
    say(f"killed a worker that held {len(heads)} sends, with {len(heads)} more behind them")
    until(
        lambda: _states(town, [sent.id for sent in heads]) == {b"unknown"},
        "the held ones unknown",
        WITHIN_S,
    )
    say(f"settled {time.monotonic() - killed:.1f} s later")
    drained(town, 60)
    say(f"everything else {time.monotonic() - killed:.1f} s later")
    books = read_books(town, tag, accepted)
    keep_promises(books, accepted)
    assert books.states == {"sent": 208, "unknown": 104}


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_hundred_connects_of_a_killed_worker_run_again_within_30_s(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """What may be done again is done again: each ends in one number with one code to scan."""
    fleet = start_fleet(
        {"PROVISION_THREADS": "128"}, {"web": 1, "provision": 1, "record": 1, "clock": 1}
    )
    organizations = [uuid4() for _ in range(100)]
    for organization_id in organizations:
        town.organization(organization_id)
    town.fail(latency_s=BLOCKED_S, paths="^/internal/|^/api/")
    with ThreadPoolExecutor(8) as pool:
        numbers = list(
            pool.map(lambda organization_id: _connect(town, organization_id), organizations)
        )
    until(lambda: _busy(town, "provision") == len(numbers), "all of them claimed", within_s=10)
    fleet.one("provision").kill()
    killed = time.monotonic()
    town.fail()
    say(f"killed a worker that held {len(numbers)} connects")
    until(
        lambda: all(attempts >= 2 for attempts in _attempts(town, numbers)),
        "all of them run again",
        WITHIN_S,
    )
    say(f"all run again {time.monotonic() - killed:.1f} s later")
    until(lambda: _states(town, numbers) == {b"done"}, "all of them done", 60)
    say(f"all done {time.monotonic() - killed:.1f} s later")
    made: Any = town.rows(
        "select count(*), count(distinct organization_id) from messenger_integrations where organization_id = any(%s)",
        organizations,
    )
    assert made == [(100, 100)]


@pytest.mark.faults
def test_a_worker_that_was_held_up_beyond_its_lease_sends_nothing(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """Its message is unknown and the next one has gone out: what comes now would be out of order."""
    tag = f"late-{time.time_ns()}"
    start_fleet(quick(), {"send": 1, "webhook": 1, "record": 1, "clock": 1})
    conversation = conversations(town, 1)[0]
    number, route = conversation.number, keys.route(conversation.number.integration_id)
    until(lambda: town.client.exists(route), "the clock to copy the numbers into Redis")
    town.client.delete(route)
    town.gateway.stall(f"id=eq.{number.integration_id}", 7)  # s; the lease is 4 s
    producer = Producer(town.client)
    accepted = []
    for seq in range(2):
        message = Message(
            to=conversation.peer,
            text=conversation.text(tag, seq),
            integration_id=number.integration_id,
        )
        taken = producer.send(number.organization_id, message)
        accepted.append(Sent(taken.id, conversation, seq, message.text))
    drained(town, 30)
    time.sleep(3)  # the one that was held up is back
    books = read_books(town, tag, accepted)
    keep_promises(books, accepted)
    say(f"in the order of sending: {[books.records[sent.text].state for sent in accepted]}")
    assert [books.records[sent.text].state for sent in accepted] == ["unknown", "sent"]
    assert [books.at_platform[sent.text] for sent in accepted] == [0, 1]


def _connect(town: Town, organization_id: UUID) -> UUID:
    with town.caller(organization_id) as crm:
        answer = crm.post("/v1/integrations", json={}).raise_for_status()
        return UUID(answer.json()["integration_id"])


def _busy(town: Town, kind: str) -> int:
    counts: Any = town.client.hvals(keys.in_flight(kind))
    return sum(map(int, counts))


def _states(town: Town, ids: list[UUID]) -> set[bytes | None]:
    return set(_fields(town, ids, "state"))


def _attempts(town: Town, ids: list[UUID]) -> list[int]:
    return [int(attempts or 0) for attempts in _fields(town, ids, "attempts")]


def _fields(town: Town, ids: list[UUID], name: str) -> list[bytes | None]:
    pipe = town.client.pipeline(transaction=False)
    for event_id in ids:
        pipe.hget(records.record_key(event_id), name)
    found: list[bytes | None] = pipe.execute()
    return found

"""A worker with a hundred events in flight is killed, with the default times of the engine."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.events import Message
from shared.lanes import records
from shared.producer import Producer
from shared.redis import keys
from tests.faults.audit import assert_guarantees, collect_audit, wait_until_drained
from tests.faults.callers import AcceptedMessage, Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.fixtures.waiting import wait_until

WITHIN_S = 30.0
BLOCKED_S = 15.0
"""How long the platform delays each call: enough for a hundred calls, within the deadline."""


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_hundred_sends_of_a_killed_worker_are_settled_within_30_s(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Messages in flight become unknown; the messages behind them go out in order."""
    tag = f"killed-{time.time_ns()}"
    fleet = start_fleet(
        {"SEND_THREADS": "128"}, {"web": 1, "send": 1, "webhook": 1, "record": 1, "clock": 1}
    )
    callers = Callers(env, tag, make_conversations(env, 13))
    callers.send(1)
    wait_until_drained(env, 60)  # tokens and routes are known from here on
    env.fail(latency_s=BLOCKED_S)
    heads = callers.send(1, first=1)[104:]
    wait_until(lambda: _busy(env, "send") == len(heads), "all of them claimed", within_s=10)
    accepted = callers.send(1, first=2)
    fleet.first("send").kill()
    killed = time.monotonic()
    env.fail()
    print_progress(
        f"killed a worker that held {len(heads)} sends, with {len(heads)} more behind them"
    )
    wait_until(
        lambda: _states(env, [sent.id for sent in heads]) == {b"unknown"},
        "the held ones unknown",
        WITHIN_S,
    )
    print_progress(f"settled {time.monotonic() - killed:.1f} s later")
    wait_until_drained(env, 60)
    print_progress(f"everything else {time.monotonic() - killed:.1f} s later")
    audit = collect_audit(env, tag, accepted)
    assert_guarantees(audit, accepted)
    assert audit.states == {"sent": 208, "unknown": 104}


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_hundred_connects_of_a_killed_worker_run_again_within_30_s(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """A connect may be repeated: each ends in a single integration with a code to scan."""
    fleet = start_fleet(
        {"PROVISION_THREADS": "128"}, {"web": 1, "provision": 1, "record": 1, "clock": 1}
    )
    organizations = [uuid4() for _ in range(100)]
    for organization_id in organizations:
        env.add_organization(organization_id)
    env.fail(latency_s=BLOCKED_S, paths="^/internal/|^/api/")
    with ThreadPoolExecutor(8) as pool:
        integrations = list(
            pool.map(lambda organization_id: _connect(env, organization_id), organizations)
        )
    wait_until(
        lambda: _busy(env, "provision") == len(integrations), "all of them claimed", within_s=10
    )
    fleet.first("provision").kill()
    killed = time.monotonic()
    env.fail()
    print_progress(f"killed a worker that held {len(integrations)} connects")
    wait_until(
        lambda: all(attempts >= 2 for attempts in _attempts(env, integrations)),
        "all of them run again",
        WITHIN_S,
    )
    print_progress(f"all run again {time.monotonic() - killed:.1f} s later")
    wait_until(lambda: _states(env, integrations) == {b"done"}, "all of them done", 60)
    print_progress(f"all done {time.monotonic() - killed:.1f} s later")
    made: Any = env.rows(
        """
        select count(*), count(distinct organization_id)
        from messenger_integrations where organization_id = any(%s)
        """,
        organizations,
    )
    assert made == [(100, 100)]


@pytest.mark.faults
def test_a_worker_sends_nothing_after_its_lease_has_expired(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Its message is unknown and the next is out: to send it now would break the order."""
    tag = f"late-{time.time_ns()}"
    start_fleet(short_timeouts(), {"send": 1, "webhook": 1, "record": 1, "clock": 1})
    conversation = make_conversations(env, 1)[0]
    integration, route = (
        conversation.integration,
        keys.route(conversation.integration.integration_id),
    )
    wait_until(lambda: env.client.exists(route), "the clock to copy the numbers into Redis")
    env.client.delete(route)
    env.gateway.stall(f"id=eq.{integration.integration_id}", 7)  # s; the lease is 4 s
    producer = Producer(env.client)
    accepted = []
    for seq in range(2):
        message = Message(
            to=conversation.peer,
            text=conversation.text(tag, seq),
            integration_id=integration.integration_id,
        )
        taken = producer.send(integration.organization_id, message)
        accepted.append(AcceptedMessage(taken.id, conversation, seq, message.text))
    wait_until_drained(env, 30)
    time.sleep(3)  # the delayed call has returned
    audit = collect_audit(env, tag, accepted)
    assert_guarantees(audit, accepted)
    print_progress(
        f"in the order of sending: {[audit.records[sent.text].state for sent in accepted]}"
    )
    assert [audit.records[sent.text].state for sent in accepted] == ["unknown", "sent"]
    assert [audit.at_platform[sent.text] for sent in accepted] == [0, 1]


def _connect(env: FaultEnvironment, organization_id: UUID) -> UUID:
    with env.caller(organization_id) as crm:
        answer = crm.post("/v1/integrations", json={}).raise_for_status()
        return UUID(answer.json()["integration_id"])


def _busy(env: FaultEnvironment, kind: str) -> int:
    counts: Any = env.client.hvals(keys.in_flight(kind))
    return sum(map(int, counts))


def _states(env: FaultEnvironment, ids: list[UUID]) -> set[bytes | None]:
    return set(_fields(env, ids, "state"))


def _attempts(env: FaultEnvironment, ids: list[UUID]) -> list[int]:
    return [int(attempts or 0) for attempts in _fields(env, ids, "attempts")]


def _fields(env: FaultEnvironment, ids: list[UUID], name: str) -> list[bytes | None]:
    pipe = env.client.pipeline(transaction=False)
    for event_id in ids:
        pipe.hget(records.record_key(event_id), name)
    found: list[bytes | None] = pipe.execute()
    return found

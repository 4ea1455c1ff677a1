"""The clock: due lanes become ready, ended leases are taken over, lost tokens are replaced."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from sandbox.redis import RedisServer
from shared import routing
from shared.events import (
    AnyEvent,
    MediaEvent,
    Message,
    ProvisionEvent,
    WebhookEvent,
    utc_now,
)
from shared.lanes import sweeper
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.sweeper import MAX_LOST_LEASES, Sweeper
from shared.lanes.types import ClaimSequence, Postponed
from shared.outcomes import DeadLetterOutcome, MessageOutcome
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache
from shared.settings import EngineSettings
from workers.clock.sweeper import event_sweeper
from workers.process import EXIT_SOFTWARE
from workers.send.in_doubt import MAX_RESENDS

ORGANIZATION, INTEGRATION = uuid4(), uuid4()
NOBODY = "http://127.0.0.1:1"
SETTINGS = {
    "SUPABASE_URL": NOBODY,
    "SUPABASE_ANON_KEY": "anon",
    "SUPABASE_SERVICE_ROLE_KEY": "service",
    "WPP_BASE_URL": NOBODY,
    "WPP_SECRET": "secret",
    "WPP_KEY_SECRETS": "0123456789abcdef0123456789abcdef",
    "WPP_PUBLIC_URL": NOBODY,
}


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


@pytest.fixture
def clock(redis_client: redis.Redis, lanes: Lanes) -> Sweeper:
    return event_sweeper(lanes, RouteCache(redis_client, database=None))


def accept(lanes: Lanes) -> UUID:
    return lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))
    ).id


def end_leases(client: redis.Redis, kind: str) -> None:
    """Let every lease have ended a while ago."""
    held: Any = client.zrange(keys.leases(kind), 0, -1)
    for lane in held:
        client.zadd(keys.leases(kind), {lane: 1})


def tokens(client: redis.Redis, queue: str) -> int:
    return int(client.llen(keys.bell(queue)))


def test_all_ended_leases_are_taken_over_at_once(
    redis_client: redis.Redis, lanes: Lanes, clock: Sweeper
) -> None:
    """More than a step holds: a worker with a hundred calls in flight was killed."""
    sequence = ClaimSequence()
    for number in range(120):
        message = Message(to=f"+7999000{number:04}", text="Hello")
        lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, message))
    while lanes.claim("send", sequence):
        pass
    end_leases(redis_client, "send")
    clock.tick()
    assert redis_client.zcard(keys.leases("send")) == 0


def test_a_lost_wake_up_is_repeated(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """The next tick finds a ready event whose bell was lost."""
    accept(lanes)
    redis_client.delete(keys.bell("send"))
    clock.tick()
    assert tokens(redis_client, "send") == 1


def test_as_many_are_woken_as_could_work(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """After an outage many lanes are due at once: a tick rings for all that can be worked on."""
    for number in range(100):
        lanes.append(
            routing.route_send(
                ORGANIZATION, INTEGRATION, Message(to=f"+7999000{number:04}", text="Hello")
            )
        )
    lanes.register("send", "process", 20)
    redis_client.delete(keys.bell("send"))
    for _ in range(3):
        clock.tick()
        assert tokens(redis_client, "send") == 16


def test_lanes_that_are_due_at_once_need_few_ticks(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """Each step is short; steps follow each other while lanes are due."""
    for number in range(300):
        message = Message(to=f"+7999000{number:04}", text="Hello")
        item = routing.route_send(ORGANIZATION, INTEGRATION, message)
        lanes.append(replace(item, delay_s=60))
    waiting: Any = redis_client.zrange(keys.delayed("send"), 0, -1)
    redis_client.zadd(keys.delayed("send"), dict.fromkeys(waiting, 1))
    clock.tick()
    assert not redis_client.exists(keys.delayed("send"))
    assert redis_client.llen(keys.ready_lanes("send", str(ORGANIZATION))) == 300


def test_tokens_do_not_pile_up(clock: Sweeper, lanes: Lanes, redis_client: redis.Redis) -> None:
    """Without consumers, further ticks add no more tokens than threads could follow."""
    accept(lanes)
    for _ in range(300):
        clock.tick()
    assert tokens(redis_client, "send") <= 64


def test_a_send_whose_worker_vanished_is_unknown(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """A send whose effect is unknown is never repeated."""
    event_id = accept(lanes)
    assert lanes.claim("send", ClaimSequence())
    end_leases(redis_client, "send")
    clock.tick()
    record = find_record(redis_client, event_id)
    assert record
    assert record.state == "unknown"


def test_with_the_policy_resend_it_is_sent_again(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """An organization that prefers doubles to questions gets another attempt."""
    route = IntegrationRoute(
        id=INTEGRATION,
        organization_id=ORGANIZATION,
        name="Shop",
        account="0000000000042",
        is_primary=True,
        is_enabled=True,
        resends_unknown=True,
    )
    RouteCache(redis_client, database=None).store_routes([route])
    event_id = accept(lanes)
    assert lanes.claim("send", ClaimSequence())
    end_leases(redis_client, "send")
    clock.tick()
    record = find_record(redis_client, event_id)
    assert record
    assert record.state == "queued"


def test_a_webhook_whose_worker_vanished_is_done_again(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """Its effect is idempotent: doing it again is safe, and losing it is not."""
    event = WebhookEvent(id=uuid4(), account="0000000000042", payload={"type": "connected"})
    lanes.append(routing.route_event(event))
    assert lanes.claim("webhook", ClaimSequence())
    end_leases(redis_client, "webhook")
    clock.tick()
    assert lanes.claim("webhook", ClaimSequence())


def make_event(queue: str) -> AnyEvent:
    """Return an event of a queue, which may be processed again."""
    account = "0000000000042"
    if queue == "webhook":
        return WebhookEvent(id=uuid4(), account=account, payload={"type": "connected"})
    if queue == "provision":
        return ProvisionEvent(id=uuid4(), organization_id=ORGANIZATION, integration_id=INTEGRATION)
    message = MessageOutcome(
        at=utc_now(), id=uuid4(), outgoing=False, phone="79990001122", status="delivered"
    )
    return MediaEvent(id=uuid4(), account=account, message=message)


def make_due(client: redis.Redis, queue: str) -> None:
    """Let the time of every postponed lane have come."""
    postponed: Any = client.zrange(keys.delayed(queue), 0, -1)
    for lane in postponed:
        client.zadd(keys.delayed(queue), {lane: 1})


@pytest.mark.parametrize("queue", ["webhook", "provision", "media"])
def test_an_event_that_its_workers_did_not_survive_is_a_dead_letter(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis, queue: str
) -> None:
    """After three lost leases in a row, with that reason; the next event of its lane goes on."""
    item = routing.route_event(make_event(queue))
    behind = replace(item, id=uuid4())
    for each in (item, behind):
        lanes.append(each)
    for _ in range(MAX_LOST_LEASES):
        make_due(redis_client, queue)
        lanes.sweep(queue)
        claim = lanes.claim(queue, ClaimSequence())
        assert claim
        assert claim.id == item.id
        end_leases(redis_client, queue)
        clock.tick()
    record = find_record(redis_client, item.id)
    assert record
    assert (record.state, record.code) == ("failed", "worker_stopped")
    rows: Any = redis_client.xrange(keys.OUTBOX)
    letters = [json.loads(fields[b"r"]) for _, fields in rows]
    [letter] = [row for row in letters if row["type"] == "dead_letter"]
    assert (letter["id"], letter["reason"]) == (str(item.id), "worker_stopped")
    assert "3 times in a row" in letter["detail"]
    claim = lanes.claim(queue, ClaimSequence())
    assert claim
    assert claim.id == behind.id


def test_the_policy_resend_has_a_bound(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """After three lost replies it is shown as unknown, and not delivered a fourth time."""
    route = IntegrationRoute(
        id=INTEGRATION,
        organization_id=ORGANIZATION,
        name="Shop",
        account="0000000000042",
        is_primary=True,
        is_enabled=True,
        resends_unknown=True,
    )
    RouteCache(redis_client, database=None).store_routes([route])
    event_id = accept(lanes)
    states = []
    for _ in range(1 + MAX_RESENDS):
        make_due(redis_client, "send")
        lanes.sweep("send")
        assert lanes.claim("send", ClaimSequence())
        end_leases(redis_client, "send")
        clock.tick()
        record = find_record(redis_client, event_id)
        assert record
        states.append(record.state)
    assert states == ["queued", "queued", "unknown"]
    record = find_record(redis_client, event_id)
    assert record
    assert record.reason
    assert "3 times in a row" in record.reason


def test_a_claim_that_cannot_be_read_costs_only_itself(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """A newer version's send may have gone out: unknown, with a dead letter; the next goes on."""
    event_id = accept(lanes)
    webhook = WebhookEvent(id=uuid4(), account="0000000000042", payload={"type": "connected"})
    lanes.append(routing.route_event(webhook))
    assert lanes.claim("send", ClaimSequence())
    assert lanes.claim("webhook", ClaimSequence())
    redis_client.hset(keys.event(event_id), "body", '{"v": 2}')
    end_leases(redis_client, "send")
    end_leases(redis_client, "webhook")
    clock.tick()
    record = find_record(redis_client, event_id)
    assert record
    assert record.state == "unknown"
    told: Any = redis_client.xrange(keys.OUTBOX)
    [*_, (_, fields)] = told
    letter = DeadLetterOutcome.model_validate_json(fields[b"r"])
    assert (letter.id, letter.reason, letter.event) == (event_id, "unreadable", {"v": 2})
    assert lanes.claim("webhook", ClaimSequence())


def test_a_route_that_cannot_be_read_costs_only_its_own_claims(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """They are taken over again a moment later, until it can be read."""
    accept(lanes)
    redis_client.set(keys.route(INTEGRATION), "{}")
    webhook = WebhookEvent(id=uuid4(), account="0000000000042", payload={"type": "connected"})
    lanes.append(routing.route_event(webhook))
    assert lanes.claim("send", ClaimSequence())
    assert lanes.claim("webhook", ClaimSequence())
    end_leases(redis_client, "send")
    end_leases(redis_client, "webhook")
    clock.tick()
    assert lanes.claim("webhook", ClaimSequence())


def test_a_redis_that_cannot_write_is_asked_again(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """A replica after a failover costs a tick, not the clock."""
    accept(lanes)
    redis_client.replicaof("127.0.0.1", "1")
    assert clock.tick() == 1.0
    redis_client.replicaof("NO", "ONE")
    clock.tick()
    assert tokens(redis_client, "send") == 1


def test_an_error_of_ours_is_raised(clock: Sweeper, redis_client: redis.Redis) -> None:
    """A failed clock exits, because a clock that stands still would stay unnoticed."""
    redis_client.set(keys.delayed("webhook"), "no zset")
    with pytest.raises(redis.ResponseError):
        clock.tick()


def test_a_clock_that_cannot_go_on_says_so_and_ends(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Its supervisor restarts it; a process that lives on without sweeping would stay unnoticed."""
    redis_client.set(keys.leases("send"), "no zset")
    done = subprocess.run(
        [sys.executable, "-m", "workers.clock"],
        env=os.environ | SETTINGS | {"REDIS_URL": redis_server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_SOFTWARE
    assert "process.failed" in done.stdout


def test_a_tick_says_when_the_next_is_due(
    clock: Sweeper, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane becomes ready when it is due; idle ticks are a second apart."""
    assert clock.tick() == 1.0
    monkeypatch.setattr(sweeper, "TICK_S", 120.0)
    accept(lanes)
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    lanes.conclude(claim, Postponed(60, "limited"))
    assert 40 <= clock.tick() <= 60


def test_a_message_without_a_record_is_told_as_unknown_and_dead(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """Its lane names the integration and the recipient; the next message of it goes out."""
    event_id = accept(lanes)
    following = accept(lanes)
    redis_client.delete(keys.event(event_id))
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert claim.id == following
    redis_client.delete(keys.OUTBOX)
    for _ in range(2):
        clock.tick()
    told: Any = redis_client.xrange(keys.OUTBOX)
    row, letter = (fields[b"r"] for _, fields in told)
    message = MessageOutcome.model_validate_json(row)
    assert (message.id, message.organization_id, message.integration_id, message.phone) == (
        event_id,
        ORGANIZATION,
        INTEGRATION,
        "79990001122",
    )
    assert message.status == "unknown"
    dead = DeadLetterOutcome.model_validate_json(letter)
    assert (dead.id, dead.organization_id, dead.kind, dead.reason) == (
        event_id,
        ORGANIZATION,
        "send",
        "record_lost",
    )


def test_a_webhook_without_a_record_is_told_as_dead(
    clock: Sweeper, lanes: Lanes, redis_client: redis.Redis
) -> None:
    event = WebhookEvent(id=uuid4(), account="0000000000042", payload={"type": "connected"})
    lanes.append(routing.route_event(event))
    redis_client.delete(keys.event(event.id))
    assert lanes.claim("webhook", ClaimSequence()) is None
    clock.tick()
    told: Any = redis_client.xrange(keys.OUTBOX)
    [(_, fields)] = told
    dead = DeadLetterOutcome.model_validate_json(fields[b"r"])
    assert (dead.id, dead.account, dead.organization_id) == (event.id, event.account, None)

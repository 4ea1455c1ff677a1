"""The clock: due lanes wake, given-up claims are taken over, lost wake-ups are repeated."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared import intake
from shared.directory import Directory, Route
from shared.events import Message, WebhookEvent
from shared.lanes import Lanes, Postponed, Slot
from shared.ledger import find
from shared.settings import EngineSettings
from workers.clock import Clock

ORGANIZATION, INTEGRATION = uuid4(), uuid4()


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


@pytest.fixture
def clock(redis_client: redis.Redis, lanes: Lanes) -> Clock:
    return Clock(redis_client, lanes, Directory(redis_client, source=None))


def accept(lanes: Lanes) -> UUID:
    return lanes.append(intake.send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))).id


def end_leases(client: redis.Redis, kind: str) -> None:
    """Let every lease have ended a while ago."""
    held: Any = client.zrange(f"wpp:leases:{kind}", 0, -1)
    for lane in held:
        client.zadd(f"wpp:leases:{kind}", {lane: 1})


def wake_ups(client: redis.Redis, queue: str) -> int:
    return int(client.llen(f"wpp:dramatiq:{queue}"))


def test_a_lost_wake_up_is_repeated(clock: Clock, lanes: Lanes, redis_client: redis.Redis) -> None:
    """An event that is ready while nobody was woken for it is found by the next tick."""
    accept(lanes)
    assert wake_ups(redis_client, "send") == 0
    clock.tick()
    assert wake_ups(redis_client, "send") == 1


def test_wake_ups_do_not_pile_up(clock: Clock, lanes: Lanes, redis_client: redis.Redis) -> None:
    """While nobody follows them, ticking on adds no more than threads could follow."""
    accept(lanes)
    for _ in range(300):
        clock.tick()
    assert wake_ups(redis_client, "send") <= 256


def test_a_send_whose_worker_vanished_is_unknown(clock: Clock, lanes: Lanes, redis_client: redis.Redis) -> None:
    """Nobody can know whether it went out, so nobody sends it again."""
    event_id = accept(lanes)
    assert lanes.claim("send", Slot())
    end_leases(redis_client, "send")
    clock.tick()
    record = find(redis_client, event_id)
    assert record
    assert record.state == "unknown"


def test_with_the_policy_resend_it_is_sent_again(clock: Clock, lanes: Lanes, redis_client: redis.Redis) -> None:
    """An organization that prefers doubles to questions gets another attempt."""
    route = Route(
        id=INTEGRATION,
        organization_id=ORGANIZATION,
        name="Shop",
        account="0000000000042",
        is_primary=True,
        is_enabled=True,
        resends_unknown=True,
    )
    Directory(redis_client, source=None).remember([route])
    event_id = accept(lanes)
    assert lanes.claim("send", Slot())
    end_leases(redis_client, "send")
    clock.tick()
    record = find(redis_client, event_id)
    assert record
    assert record.state == "queued"


def test_a_webhook_whose_worker_vanished_is_done_again(clock: Clock, lanes: Lanes, redis_client: redis.Redis) -> None:
    """Its effect is idempotent: doing it again is safe, and losing it is not."""
    event = WebhookEvent(id=uuid4(), account="0000000000042", payload={"type": "connected"})
    lanes.append(intake.place(event))
    assert lanes.claim("webhook", Slot())
    end_leases(redis_client, "webhook")
    clock.tick()
    assert lanes.claim("webhook", Slot())


def test_a_tick_says_when_the_next_is_due(clock: Clock, lanes: Lanes) -> None:
    """A lane that is due soon is woken then, not at the next full second; idle ticks are a second apart."""
    assert clock.tick() == 1.0
    accept(lanes)
    claim = lanes.claim("send", Slot())
    assert claim
    lanes.conclude(claim, Postponed(0.4, "limited"))
    assert 0.05 <= clock.tick() <= 0.4

"""Threads are few: whatever one tenant brings, half of them are there for the others."""

import time
from threading import Event as Flag
from uuid import UUID, uuid4

import dramatiq
import redis

from shared import routing
from shared.broker import DurableRedisBroker
from shared.events import Message, SendEvent
from shared.lanes.client import Claim, ClaimResult, Lanes, Settled
from shared.lanes.wakeups import wake
from shared.settings import EngineSettings
from tests.shared.broker.workshop import eventually, working
from workers.broker import FairShare
from workers.runner import drain

SLOW, QUICK = uuid4(), uuid4()


def test_a_tenant_with_slow_events_does_not_take_all_threads(redis_client: redis.Redis) -> None:
    """Of eight threads it has four; another tenant's event is handled at once."""
    lanes = Lanes(redis_client, EngineSettings())
    broker = DurableRedisBroker(client=redis_client, middleware=[FairShare(lambda: lanes)])
    in_work: list[UUID] = []
    over = Flag()

    def handle(claim: Claim) -> ClaimResult:
        organization_id = SendEvent.model_validate_json(claim.body).organization_id
        in_work.append(organization_id)
        if organization_id == SLOW:
            over.wait(10)
        return Settled("sent")

    @dramatiq.actor(broker=broker, queue_name="send", actor_name="drain_send")
    def drain_send() -> None:
        drain(lanes, "send", handle, lambda *_: Settled("failed"), Flag())

    def accept(organization_id: UUID, number: int) -> None:
        lanes.append(
            routing.route_send(
                organization_id, uuid4(), Message(to=f"+7999000{number:04}", text="Hello")
            )
        )
        wake(redis_client, "send")

    with working(broker, threads=8):
        for number in range(20):
            accept(SLOW, number)
        eventually(lambda: len(in_work) == 4)
        time.sleep(0.2)
        assert in_work == [SLOW] * 4
        accept(QUICK, 0)
        assert eventually(lambda: QUICK in in_work) < 1
        over.set()
        eventually(lambda: len(in_work) == 21)


def test_no_share_is_more_than_the_setting_or_less_than_one(redis_client: redis.Redis) -> None:
    """A worker with one thread works; one with many has what it is allowed."""
    shares = []
    for threads in (1, 8, 128):
        lanes = Lanes(redis_client, EngineSettings())
        with working(
            DurableRedisBroker(client=redis_client, middleware=[FairShare(lambda: lanes)]),  # noqa: B023
            threads=threads,
        ):
            shares.append(lanes.room)
    assert shares == [1, 4, 16]

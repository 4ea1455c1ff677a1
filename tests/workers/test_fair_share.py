"""Threads are few: whatever one tenant brings, half of them are there for other tenants."""

import time
from threading import Event as Flag
from uuid import uuid4

import dramatiq
import redis

from shared.lanes.broker import LaneBroker
from tests.shared.lanes.workers import eventually, working
from workers.broker import FairShare


def test_a_tenant_with_slow_events_does_not_take_all_threads(redis_client: redis.Redis) -> None:
    """Of eight threads it has four; another tenant's event is handled at once."""
    broker = LaneBroker(redis_client, middleware=[FairShare()])
    in_work: list[str] = []
    over = Flag()

    @dramatiq.actor(broker=broker, queue_name="send")
    def handle(tenant: str) -> None:
        in_work.append(tenant)
        if tenant == "slow":
            over.wait(10)

    def accept(tenant: str) -> None:
        handle.send_with_options(args=(tenant,), tenant=tenant, lane=uuid4().hex)

    with working(broker, threads=8):
        for _ in range(20):
            accept("slow")
        eventually(lambda: len(in_work) == 4)
        time.sleep(0.2)
        assert in_work == ["slow"] * 4
        accept("quick")
        assert eventually(lambda: "quick" in in_work) < 1
        over.set()
        eventually(lambda: len(in_work) == 21)


def test_no_share_is_more_than_the_setting_or_less_than_one(redis_client: redis.Redis) -> None:
    """A worker with one thread works; one with many has what it is allowed."""
    shares = []
    for threads in (1, 8, 128):
        broker = LaneBroker(redis_client, middleware=[FairShare()])
        with working(broker, threads=threads):
            shares.append(broker.lanes.max_inflight)
    assert shares == [1, 4, 16]

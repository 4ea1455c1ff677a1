"""The keeper's judgement on what is an orphan, and its quick end."""

import time

import pytest
import redis

from shared.broker.consumer import Desk, DurableConsumer
from shared.broker.keeper import SHORTEST_BLOCK_S, Keeper
from shared.broker.queues import Entry, Queues
from tests.shared.broker.workshop import eventually


@pytest.fixture
def desk(redis_client: redis.Redis) -> Desk:
    desk = Desk(Queues(redis_client, "wpp:test"))
    desk.queues.enqueue(Entry("q", "a", b"a"))
    return desk


def keeper(desk: Desk, interval_s: float = 0.05) -> Keeper:
    return Keeper(desk, interval_s=interval_s, heartbeat_timeout=20_000, dead_letter_ttl=1_000)


def waits(desk: Desk) -> bool:
    return bool(desk.queues.client.llen("wpp:test:q"))


def test_what_no_thread_holds_is_handed_back(desk: Desk) -> None:
    desk.queues.fetch("q", 1)
    guard = keeper(desk)
    guard.start()
    eventually(lambda: waits(desk))
    guard.stop()


def test_what_a_thread_holds_is_left_alone(desk: Desk) -> None:
    desk.queues.fetch("q", 1)
    DurableConsumer(desk, "q", prefetch=1, timeout=10).held.add("a")
    guard = keeper(desk)
    guard.start()
    eventually(lambda: guard.replies > 10)
    guard.stop()
    assert not waits(desk)


def test_what_a_slow_fetch_may_still_bring_is_left_alone(desk: Desk) -> None:
    """Redis has given it, and the reply takes longer than two ticks: with the fetch still on its way, nobody knows."""
    consumer = DurableConsumer(desk, "q", prefetch=1, timeout=10)
    consumer.fetching_since = time.monotonic()
    desk.queues.fetch("q", 1)
    guard = keeper(desk)
    guard.start()
    eventually(lambda: guard.replies > 10)
    assert not waits(desk)
    consumer.fetching_since = None
    eventually(lambda: waits(desk))
    guard.stop()


def test_it_ends_at_once_though_it_blocks_for_seconds(desk: Desk) -> None:
    guard = keeper(desk, interval_s=30)
    guard.start()
    eventually(lambda: guard.replies)
    began = time.monotonic()
    guard.stop()
    guard.join(0)
    assert not guard.is_alive()
    assert time.monotonic() - began < 0.5
    assert desk.queues.client.keys("wpp:test:alive:workers") == []


def test_it_never_blocks_for_as_long_as_the_client_waits_for_an_answer(desk: Desk) -> None:
    desk.queues.client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
    guard = keeper(desk, interval_s=30)
    guard.start()
    eventually(lambda: guard.replies > 4)
    guard.stop()


def test_its_shortest_block_ends(desk: Desk) -> None:
    """Redis 6.2 takes a millisecond for zero, which is for ever."""
    began = time.monotonic()
    assert desk.queues.await_bell([desk.queues.own_bell], SHORTEST_BLOCK_S) is None
    assert time.monotonic() - began < 1

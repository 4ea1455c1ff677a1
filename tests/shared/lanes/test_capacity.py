"""Threads of a process are shared by its queues, and none takes all of them."""

import threading
import time

import dramatiq
import redis
from dramatiq import Worker

from shared.lanes.broker import LaneBroker
from shared.lanes.capacity import KEPT, Capacity


def test_a_single_queue_takes_every_thread() -> None:
    capacity = Capacity(8)
    capacity.add_queue("send")
    assert capacity.take("send", 32) == 8
    assert capacity.take("send", 1) == 0
    capacity.give_back("send", 3)
    assert capacity.take("send", 32) == 3


def test_a_queue_leaves_threads_for_each_other_queue() -> None:
    """What the others have taken counts as theirs, and what they give back is kept again."""
    capacity = Capacity(16)
    for queue in ("send", "webhook", "media"):
        capacity.add_queue(queue)
    assert capacity.take("send", 32) == 16 - 2 * KEPT
    assert capacity.take("webhook", 32) == KEPT
    assert capacity.take("media", 1) == 1
    assert capacity.take("send", 1) == 0
    capacity.give_back("webhook", 1)
    assert capacity.take("send", 1) == 0
    assert capacity.take("media", 32) == 1


def test_few_threads_are_shared_by_who_comes_first() -> None:
    """Half of the threads at most are kept."""
    capacity = Capacity(2)
    for queue in ("send", "webhook", "media"):
        capacity.add_queue(queue)
    assert capacity.take("send", 32) == 2
    assert not capacity.wait_free("webhook", 0.01)
    assert not capacity.wanted_beside("webhook")


def test_a_stop_ends_the_wait_for_a_free_thread() -> None:
    """Nothing is claimed then, also when a thread becomes free."""
    capacity = Capacity(1)
    capacity.add_queue("send")
    capacity.take("send", 1)
    threading.Timer(0.1, capacity.stop).start()
    began_s = time.monotonic()
    assert not capacity.wait_free("send", 10)
    assert time.monotonic() - began_s < 5
    assert capacity.stopping


def test_a_hanging_queue_does_not_stop_the_others(redis_client: redis.Redis) -> None:
    """All threads that sends may take hang; the webhooks behind them are handled."""
    broker = LaneBroker(redis_client)
    released, handled = threading.Event(), threading.Semaphore(0)

    @dramatiq.actor(broker=broker, queue_name="send")
    def hang() -> None:
        released.wait(30)

    @dramatiq.actor(broker=broker, queue_name="webhook")
    def handle() -> None:
        handled.release()

    for number in range(20):
        hang.send_with_options(tenant=f"tenant {number}", lane=f"lane {number}")
    worker = Worker(broker, worker_threads=8, worker_timeout=100)
    worker.start()
    try:
        for _ in range(10):
            handle.send()
        assert all(handled.acquire(timeout=20) for _ in range(10))
    finally:
        released.set()
        worker.stop()

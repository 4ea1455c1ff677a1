"""Each fault of the stock broker, made to happen to ours; where it is cheap, to the stock one too, as the proof."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

import dramatiq
import pytest
import redis
import redis.asyncio
from dramatiq import Message, Worker
from dramatiq.brokers.redis import RedisBroker

from sandbox.redis import RedisServer
from shared.broker import DurableRedisBroker, enqueue_on, load_scripts, wake_up
from tests.fixtures.tcp_proxy import TcpProxy
from tests.shared.broker.workshop import brisk_broker, eventually, impatient, working

PREFIX = "wpp:dramatiq"
ENQUEUE, FETCH = b"\r\nenqueue\r\n", b"\r\nfetch\r\n"


@pytest.fixture
def proxy(redis_server: RedisServer, redis_client: redis.Redis) -> Iterator[TcpProxy]:  # noqa: ARG001 - empties Redis
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def broker(redis_client: redis.Redis) -> DurableRedisBroker:
    return brisk_broker(redis_client)


class Runs:
    """Counts runs of an actor by its argument."""

    def __init__(self, broker: Any, **options: Any) -> None:
        self.count: Counter[int] = Counter()
        self.seconds = 0.0
        self.fail_first = False
        self.actor = dramatiq.actor(actor_name="run", broker=broker, **options)(self.run)

    def run(self, number: int) -> None:
        self.count[number] += 1
        if self.fail_first and self.count[number] == 1:
            raise RuntimeError
        time.sleep(self.seconds)


def test_an_enqueue_whose_reply_is_lost_runs_once(
    proxy: TcpProxy, broker: DurableRedisBroker
) -> None:
    """The client sends it again, long after a quick worker was through with it."""
    runs = Runs(broker)
    sender = brisk_broker(impatient(proxy.url, socket_timeout_s=0.3))
    with working(broker):
        proxy.swallow_after(ENQUEUE)
        sender.enqueue(runs.actor.message(1))
        broker.join("default", timeout=5_000)
    assert proxy.hits == 1
    assert runs.count == {1: 1}


def test_stock_runs_it_twice(proxy: TcpProxy, redis_client: redis.Redis) -> None:
    stock = RedisBroker(client=redis_client)
    runs = Runs(stock)
    sender = RedisBroker(client=impatient(proxy.url, socket_timeout_s=0.3))
    worker = Worker(stock, worker_threads=2, worker_timeout=50)
    worker.start()
    proxy.swallow_after(ENQUEUE)
    sender.enqueue(runs.actor.message(1))
    eventually(lambda: runs.count[1] == 2)
    worker.stop()


def test_a_message_enqueued_again_by_a_cautious_caller_runs_once(
    broker: DurableRedisBroker,
) -> None:
    runs = Runs(broker)
    message = runs.actor.message(1)
    broker.enqueue(message)
    broker.enqueue(message)
    with working(broker):
        broker.join("default", timeout=5_000)
    broker.enqueue_many([message])
    assert broker.desk.queues.size("default") == 0
    assert runs.count == {1: 1}


@pytest.mark.parametrize("fault", ["cut", "swallow"])
def test_a_fetch_whose_reply_is_lost_costs_seconds_and_no_message(
    fault: str, proxy: TcpProxy
) -> None:
    broker = brisk_broker(impatient(proxy.url))
    runs = Runs(broker)
    broker.enqueue_many(runs.actor.message(number) for number in range(6))
    (proxy.cut_after if fault == "cut" else proxy.swallow_after)(FETCH)
    with working(broker):
        eventually(lambda: len(runs.count) == 6)
        broker.join("default", timeout=5_000)
    assert proxy.hits == 1
    assert set(runs.count.values()) == {1}


def test_a_failed_attempt_whose_retry_cannot_be_enqueued_runs_again(proxy: TcpProxy) -> None:
    """Stock acknowledges it as soon as Redis is back: the message is lost."""
    broker = brisk_broker(impatient(proxy.url, retries=0))
    runs = Runs(broker, min_backoff=100, max_backoff=100)
    runs.fail_first = True
    attempted = threading.Event()

    class RedisGoesAway(dramatiq.Middleware):
        def before_process_message(self, *_: object) -> None:
            if not attempted.is_set():
                attempted.set()
                proxy.refuse()

    broker.add_middleware(RedisGoesAway())
    with working(broker):
        runs.actor.send(1)
        eventually(lambda: runs.count[1] == 1)
        time.sleep(0.5)
        proxy.accept()
        eventually(lambda: runs.count[1] == 2)
        broker.join("default", timeout=5_000)
    assert runs.count == {1: 2}


def test_a_callback_that_cannot_be_enqueued_brings_the_message_back(proxy: TcpProxy) -> None:
    """Stock acknowledges the message, and its callback is lost."""
    broker = brisk_broker(impatient(proxy.url, retries=0))
    runs, called = Runs(broker), threading.Event()

    @dramatiq.actor(broker=broker)
    def callback(_message: object, _result: object) -> None:
        called.set()

    with working(broker):
        runs.actor.send_with_options(args=(1,), on_success=callback)
        proxy.cut_after(b'"callback"')
        eventually(called.is_set)
        broker.join("default", timeout=5_000)
    assert proxy.hits == 1
    assert runs.count == {1: 2}


def test_a_retry_whose_reply_is_lost_runs_once(proxy: TcpProxy) -> None:
    """The retry has taken the place of the attempt, so there is nothing left to come back."""
    broker = brisk_broker(impatient(proxy.url, retries=0))
    runs = Runs(broker, min_backoff=100, max_backoff=100)
    runs.fail_first = True
    with working(broker):
        runs.actor.send(1)
        proxy.cut_after(b"requeue_timestamp")
        eventually(lambda: runs.count[1] == 2)
        time.sleep(1)
    assert proxy.hits == 1
    assert runs.count == {1: 2}
    assert broker.desk.queues.size("default") == 0


@pytest.mark.parametrize("rubbish", [b"\xff{", b"[1, 2]", b'{"queue_name": "default"}', b"null"])
def test_a_message_that_cannot_be_read_costs_only_itself(
    rubbish: bytes, broker: DurableRedisBroker
) -> None:
    runs = Runs(broker)
    for number in range(4):
        runs.actor.send(number)
        if number == 1:
            broker.client.hset(f"{PREFIX}:default.msgs", "rubbish", rubbish)
            broker.client.rpush(f"{PREFIX}:default", "rubbish")
    with working(broker, threads=4):
        broker.join("default", timeout=5_000)
    assert runs.count == dict.fromkeys(range(4), 1)
    assert broker.client.hgetall(f"{PREFIX}:default.XQ.msgs") == {b"rubbish": rubbish}


def test_a_message_that_names_another_queue_does_not_kill_the_thread(
    broker: DurableRedisBroker,
) -> None:
    """In stock, the worker thread that finishes it looks for that queue's consumer and dies."""
    runs = Runs(broker)
    broker.client.hset(
        f"{PREFIX}:default.msgs", "odd", runs.actor.message(1).copy(queue_name="x").encode()
    )
    broker.client.rpush(f"{PREFIX}:default", "odd")
    runs.actor.send(2)
    with working(broker, threads=1):
        broker.join("default", timeout=5_000)
    assert runs.count == {1: 1, 2: 1}


def test_tasks_longer_than_the_heartbeat_timeout_stay_with_their_worker(
    redis_client: redis.Redis,
) -> None:
    """With both workers full, stock's send no heartbeat, and take each other's messages for ever."""
    one, two = (
        DurableRedisBroker(client=redis_client, heartbeat_timeout=500, tick_interval=100)
        for _ in range(2)
    )
    counts = [Runs(broker) for broker in (one, two)]
    for runs in counts:
        runs.seconds = 1.5
    with working(one, threads=1), working(two, threads=1):
        one.enqueue_many(counts[0].actor.message(number) for number in range(4))
        one.join("default", timeout=10_000)
    assert counts[0].count + counts[1].count == Counter(dict.fromkeys(range(4), 1))


def test_an_idle_worker_picks_a_message_up_within_milliseconds(broker: DurableRedisBroker) -> None:
    """And asks Redis about once a second, its heartbeats included (with its usual interval)."""
    broker.tick_interval = 3_000
    began: dict[int, float] = {}

    @dramatiq.actor(broker=broker)
    def begin(number: int) -> None:
        began[number] = time.perf_counter()

    def asked() -> int:
        stats: dict[str, Any] = broker.client.info("commandstats")
        return sum(
            stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "blpop")
        )

    latencies = []
    with working(broker):
        eventually(lambda: broker.desk.listening)
        for number in range(30):
            sent = time.perf_counter()
            begin.send(number)
            eventually(lambda: len(began) > number)  # noqa: B023 - called at once
            latencies.append(began[number] - sent)
        time.sleep(0.2)
        before = asked()
        time.sleep(3)
        assert asked() - before <= 3
    assert median(latencies) < 0.05


def test_a_delayed_message_that_is_due_first_is_not_kept_waiting(
    broker: DurableRedisBroker,
) -> None:
    """Whatever the interval between ticks."""
    broker.tick_interval = 3_000
    runs = Runs(broker)
    with working(broker):
        eventually(lambda: broker.desk.listening)
        runs.actor.send_with_options(args=(1,), delay=60_000)
        runs.actor.send_with_options(args=(2,), delay=200)
        waited_s = eventually(lambda: runs.count[2])
    assert 0.15 < waited_s < 1


def test_two_idle_workers_share_what_comes_in(redis_client: redis.Redis) -> None:
    brokers = [brisk_broker(redis_client) for _ in range(2)]
    counts = [Runs(broker) for broker in brokers]
    for runs in counts:
        runs.seconds = 0.05
    with working(brokers[0], threads=2), working(brokers[1], threads=2):
        brokers[0].enqueue_many(counts[0].actor.message(number) for number in range(40))
        brokers[0].join("default", timeout=5_000)
    assert counts[0].count + counts[1].count == Counter(dict.fromkeys(range(40), 1))
    assert min(counts[0].count.total(), counts[1].count.total()) >= 10


def test_a_full_worker_leaves_the_bell_to_others(redis_client: redis.Redis) -> None:
    """One has as much as it may hold; the next message goes to the idle one at once, not at the next tick."""
    brokers = [DurableRedisBroker(client=redis_client, tick_interval=3_000) for _ in range(2)]
    counts = [Runs(broker) for broker in brokers]
    counts[0].seconds = 1
    with working(brokers[0], threads=1):
        brokers[0].enqueue_many(counts[0].actor.message(number) for number in range(2))
        eventually(lambda: len(brokers[0].desk.held.get("default", set())) == 2)
        with working(brokers[1], threads=1):
            eventually(lambda: brokers[1].desk.listening)
            for number in range(2, 7):
                sent = time.monotonic()
                counts[0].actor.send(number)
                eventually(lambda: counts[1].count[number])  # noqa: B023 - called at once
                assert time.monotonic() - sent < 0.5


def test_a_worker_that_was_full_goes_on_at_once(broker: DurableRedisBroker) -> None:
    """With what was waiting meanwhile, and, once that is done, with what comes in next; no tick is needed for it."""
    broker.tick_interval = 3_000
    runs = Runs(broker)
    runs.seconds = 0.1
    with working(broker, threads=1):
        eventually(lambda: broker.desk.listening)
        for number in range(6):
            runs.actor.send(number)
        assert eventually(lambda: len(runs.count) == 6) < 1.5
        eventually(lambda: not broker.desk.held.get("default", set()))
        time.sleep(0.1)
        runs.actor.send(6)
        assert eventually(lambda: runs.count[6]) < 0.5


def test_many_messages_are_enqueued_in_one_round_trip(
    proxy: TcpProxy, redis_client: redis.Redis
) -> None:
    """Shown by a reply that is lost once for all of them, and a repetition that doubles none."""
    broker = brisk_broker(impatient(proxy.url))
    runs = Runs(broker)
    proxy.cut_after(ENQUEUE)
    broker.enqueue_many(runs.actor.message(number) for number in range(50))
    assert proxy.hits == 1
    assert redis_client.llen(f"{PREFIX}:default") == 50


def test_a_caller_adds_a_wake_up_to_its_own_transaction(broker: DurableRedisBroker) -> None:
    """No broker is needed for it, and no more wake-ups wait than the caller allows."""
    drained = threading.Event()

    @dramatiq.actor(broker=broker, queue_name="send")
    def drain_send() -> None:
        drained.set()

    load_scripts(broker.client)
    with broker.client.pipeline(transaction=True) as pipe:
        pipe.incr("wpp:other")
        for _ in range(3):
            enqueue_on(pipe, wake_up("send"), unless_depth=2)
        assert pipe.execute() == [1, 1, 1, 0]
    with working(broker):
        eventually(drained.is_set)
        broker.join("send", timeout=5_000)


def test_an_asynchronous_caller_does_so_too(
    broker: DurableRedisBroker, redis_server: RedisServer
) -> None:
    async def enqueue(message: "Message[Any]") -> list[Any]:
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            await load_scripts(client)
            pipe = client.pipeline(transaction=True)
            enqueue_on(pipe, message)
            enqueue_on(pipe, message)
            return list(await pipe.execute())

    runs = Runs(broker)
    assert asyncio.run(enqueue(runs.actor.message(1))) == [1, 0]
    with working(broker):
        broker.join("default", timeout=5_000)
    assert runs.count == {1: 1}


def test_a_stopped_worker_leaves_nothing_behind(broker: DurableRedisBroker) -> None:
    runs = Runs(broker)
    for _ in range(2):
        with working(broker):
            runs.actor.send(1)
            eventually(lambda: runs.count[1])
            broker.join("default", timeout=5_000)
        left = {key.decode().split(":")[2] for key in broker.client.scan_iter(f"{PREFIX}:*")}
        assert left <= {"recent", "alive"}, (
            "only what is known of past enqueues, and when somebody last ticked"
        )
        assert broker.client.zcard(f"{PREFIX}:alive:workers") == 0

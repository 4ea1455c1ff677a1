"""The lanes as a Dramatiq broker: enqueue, retries, dead letters, results, in this process."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from threading import Timer
from typing import Any
from uuid import UUID

import dramatiq
import pytest
import redis
from dramatiq import Worker
from dramatiq.middleware import CurrentMessage, Retries, TimeLimit
from dramatiq.middleware.time_limit import TimeLimitExceeded

from sandbox.redis import RedisServer
from shared.lanes.broker import LaneBroker
from shared.lanes.message import LaneMessage
from shared.lanes.records import find_record
from shared.lanes.types import Postponed, Settled
from shared.redis import connect, keys
from tests.fixtures.tcp_proxy import TcpProxy
from tests.fixtures.waiting import least_s
from tests.shared.lanes.workers import blocked_consumers, eventually, short_timeouts, working


@pytest.fixture
def broker(redis_client: redis.Redis) -> LaneBroker:
    return LaneBroker(redis_client, middleware=[CurrentMessage()])


@pytest.fixture
def proxied(
    redis_server: RedisServer, redis_client: redis.Redis
) -> Iterator[tuple[LaneBroker, TcpProxy]]:
    """Return a broker behind a proxy that can lose replies. `redis_client` empties Redis."""
    assert redis_client.ping()
    with TcpProxy(redis_server.port) as proxy, short_timeouts(proxy.url) as client:
        yield LaneBroker(client, middleware=[CurrentMessage()]), proxy


def state_of(broker: LaneBroker, message: "dramatiq.Message[Any]") -> str | None:
    record = find_record(broker.client, UUID(message.message_id))
    return record.state if record else None


def test_an_actor_runs_when_its_message_is_enqueued(broker: LaneBroker) -> None:
    """Once; its record says done."""
    runs: Counter[int] = Counter()

    @dramatiq.actor(broker=broker)
    def count(number: int) -> None:
        runs[number] += 1

    with working(broker):
        messages = [count.send(number) for number in range(20)]
        broker.join("default", timeout=30_000)
    assert runs == Counter(range(20))
    assert {state_of(broker, message) for message in messages} == {"done"}


def test_an_idle_worker_begins_within_milliseconds(broker: LaneBroker) -> None:
    """The bell wakes it."""
    began: list[float] = []

    @dramatiq.actor(broker=broker)
    def note() -> None:
        began.append(time.monotonic())

    waits = []
    with working(broker):
        for _ in range(20):
            eventually(lambda: blocked_consumers(broker.client))
            count, sent = len(began), time.monotonic()
            note.send()
            eventually(lambda: len(began) > count)  # noqa: B023
            waits.append(began[-1] - sent)
    assert sorted(waits)[10] < 0.1


def test_a_delayed_message_runs_when_it_is_due(broker: LaneBroker) -> None:
    """The sweeper makes its lane ready."""
    ran: list[float] = []

    @dramatiq.actor(broker=broker)
    def note() -> None:
        ran.append(time.monotonic())

    sent = time.monotonic()
    note.send_with_options(delay=300)
    with working(broker):
        time.sleep(0.1)
        assert ran == []
        eventually(lambda: broker.lanes.sweep("default").ready >= 0 and ran)
    assert ran[0] - sent >= 0.3


def test_the_retries_of_dramatiq_postpone_at_the_head_of_the_lane(broker: LaneBroker) -> None:
    """A message behind it does not overtake it, and the count of retries is kept."""
    broker.add_middleware(Retries(max_retries=3, min_backoff=10, max_backoff=20))
    runs: list[str] = []

    @dramatiq.actor(broker=broker, lane="x")
    def fail_twice(name: str) -> None:
        runs.append(name)
        if name == "first" and len(runs) <= 2:
            raise RuntimeError

    with working(broker):
        fail_twice.send("first")
        fail_twice.send("second")
        eventually(lambda: broker.lanes.sweep("default").ready >= 0 and len(runs) == 4)
        broker.join("default", timeout=30_000)
    assert runs == ["first", "first", "first", "second"]


def test_a_message_that_fails_for_good_is_a_dead_letter(broker: LaneBroker) -> None:
    """Its record keeps the reason and the message; the lane goes on."""

    @dramatiq.actor(broker=broker, lane="x")
    def fail(name: str) -> None:
        if name == "bad":
            msg = "no such thing"
            raise ValueError(msg)

    with working(broker):
        bad, good = fail.send("bad"), fail.send("good")
        broker.join("default", timeout=30_000)
    assert (state_of(broker, bad), state_of(broker, good)) == ("failed", "done")
    dead: Any = broker.client.hgetall(keys.event(bad.message_id))
    assert dead[b"reason"] == b"ValueError('no such thing')"
    assert dramatiq.Message.decode(dead[b"dead_letter"]).args == ("bad",)


def test_a_message_that_cannot_be_decoded_costs_only_itself(broker: LaneBroker) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def note(number: int) -> None:
        ran.append(number)

    broken = note.send(0)
    broker.client.hset(keys.event(broken.message_id), "body", "no JSON")
    note.send(1)
    with working(broker):
        broker.join("default", timeout=30_000)
    assert ran == [1]
    assert state_of(broker, broken) == "failed"


def test_a_message_of_an_unknown_actor_is_a_dead_letter(broker: LaneBroker) -> None:
    broker.declare_queue("default")
    message: dramatiq.Message[None] = dramatiq.Message("default", "nobody", (), {}, {})
    broker.enqueue(message)
    with working(broker):
        broker.join("default", timeout=30_000)
    assert state_of(broker, message) == "failed"


def test_an_actor_says_how_its_claim_ends(broker: LaneBroker) -> None:
    """Postponed at first, then settled with a state of its own."""

    @dramatiq.actor(broker=broker)
    def decide() -> None:
        message = CurrentMessage.get_current_message()
        assert isinstance(message, LaneMessage)
        first = message.claim.attempts == 1
        message.conclude_with(Postponed(0, "once more") if first else Settled("sent"))

    with working(broker):
        message = decide.send()
        broker.join("default", timeout=30_000)
    assert state_of(broker, message) == "sent"


def test_an_enqueue_whose_reply_is_lost_runs_once(proxied: tuple[LaneBroker, TcpProxy]) -> None:
    """The client sends it again, long after a quick worker has settled it."""
    broker, proxy = proxied
    runs: Counter[int] = Counter()

    @dramatiq.actor(broker=broker)
    def count(number: int) -> None:
        runs[number] += 1

    with working(broker):
        eventually(lambda: blocked_consumers(broker.client))
        proxy.cut_after(b"args")
        count.send(1)
        broker.join("default", timeout=30_000)
        time.sleep(0.2)
    assert runs == {1: 1}


@pytest.mark.parametrize("command", [b'"count":', b'"state":"done"'])
def test_a_claim_or_a_result_whose_reply_is_lost_runs_once(
    proxied: tuple[LaneBroker, TcpProxy], command: bytes
) -> None:
    """The same request gets the same claims again, and a result is written once."""
    broker, proxy = proxied
    runs: Counter[int] = Counter()

    @dramatiq.actor(broker=broker)
    def count(number: int) -> None:
        runs[number] += 1

    for number in range(20):
        count.send(number)
    proxy.cut_after(command)
    with working(broker):
        broker.join("default", timeout=30_000)
    assert runs == Counter(range(20))


def test_a_result_is_offered_to_a_redis_that_cannot_write_until_it_can(broker: LaneBroker) -> None:
    """After a failover the old primary is a replica for a while: no result is forgotten."""
    later = Timer(0.5, broker.client.replicaof, ["NO", "ONE"])

    @dramatiq.actor(broker=broker)
    def finish() -> None:
        broker.client.replicaof("127.0.0.1", "1")
        later.start()

    with working(broker, threads=1):
        message = finish.send()
        eventually(lambda: state_of(broker, message) == "done")
    later.join()


def test_a_result_that_redis_refuses_costs_only_itself(broker: LaneBroker) -> None:
    """Results that were sent in the same group are written all the same."""
    barrier = threading.Barrier(4)

    @dramatiq.actor(broker=broker)
    def finish(number: int) -> None:
        message = CurrentMessage.get_current_message()
        assert isinstance(message, LaneMessage)
        if number == 0:
            message.result = "no JSON"
        barrier.wait(30)

    with working(broker, threads=7):  # a tenant alone has 5 of them: 4, and the refused one
        messages = [finish.send(number) for number in range(4)]
        eventually(lambda: [state_of(broker, each) for each in messages[1:]] == ["done"] * 3)
        assert state_of(broker, messages[0]) == "claimed", "the sweeper decides when its lease ends"
        later = finish.send_with_options(args=(4,))
        for number in (5, 6, 7):
            finish.send(number)
        eventually(lambda: state_of(broker, later) == "done")


def test_an_actor_has_a_time_limit(redis_client: redis.Redis) -> None:
    """As any actor of Dramatiq."""
    broker = LaneBroker(redis_client, middleware=[TimeLimit(time_limit=200, interval=50)])
    stopped = threading.Event()

    @dramatiq.actor(broker=broker)
    def wait() -> None:
        try:
            for _ in range(500):
                time.sleep(0.01)
        except TimeLimitExceeded:
            stopped.set()
            raise

    broker.emit_after("process_boot")
    with working(broker):
        wait.send()
        assert stopped.wait(30)


def test_no_more_is_claimed_than_threads_are_free(redis_client: redis.Redis) -> None:
    """Waiting events are left to another process; a worker with free threads takes them at once."""
    over = threading.Event()
    brokers = [LaneBroker(connect_like(redis_client)) for _ in range(2)]
    running: list[Counter[int]] = [Counter(), Counter()]
    for broker, counter in zip(brokers, running, strict=True):

        @dramatiq.actor(broker=broker, actor_name="wait")
        def wait(number: int, counter: Counter[int] = counter) -> None:
            counter[number] += 1
            over.wait(60)

    with working(brokers[0], threads=2):
        for number in range(3):
            own = {"tenant": str(number)}
            brokers[0].enqueue(dramatiq.Message("default", "wait", (number,), {}, own))
        eventually(lambda: len(running[0]) == 2)
        assert redis_client.zcard(keys.leases("default")) == 2
        with working(brokers[1], threads=2):
            eventually(lambda: len(running[1]) == 1)
            over.set()


def test_an_idle_worker_stops_at_once(redis_client: redis.Redis) -> None:
    """Its threads wait for seconds, and are woken; no token of the bell is lost."""
    broker = LaneBroker(connect_like(redis_client))

    @dramatiq.actor(broker=broker)
    def note() -> None:
        """Do nothing."""

    def stop() -> float:
        worker = Worker(broker, worker_threads=4)
        worker.start()
        eventually(lambda: blocked_consumers(redis_client))
        began_s = time.monotonic()
        worker.stop()
        return time.monotonic() - began_s

    assert least_s(stop, 1) < 1
    note.send()
    assert redis_client.llen(keys.bell("default")) == 1


def test_a_worker_stops_while_redis_does_not_answer(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Its consumers wait until their timeout; nothing else waits for Redis to wake them."""
    assert redis_client.ping()
    with (
        TcpProxy(redis_server.port) as proxy,
        short_timeouts(proxy.url, retries=0) as client,
    ):
        broker = LaneBroker(client)

        @dramatiq.actor(broker=broker)
        def note() -> None:
            """Do nothing."""

        def stop() -> float:
            worker = Worker(broker, worker_threads=4, worker_timeout=100)
            worker.start()
            eventually(lambda: blocked_consumers(redis_client))
            proxy.swallow_after(b"RPUSH")
            began_s = time.monotonic()
            worker.stop()
            return time.monotonic() - began_s

        assert least_s(stop, 3) < 3


def connect_like(client: redis.Redis) -> redis.Redis:
    settings = client.connection_pool.connection_kwargs
    return connect(f"redis://{settings['host']}:{settings['port']}")


def test_queues_of_one_process_share_its_threads(broker: LaneBroker) -> None:
    """A busy queue leaves threads to the second queue."""
    order: list[str] = []

    @dramatiq.actor(broker=broker, queue_name="busy")
    def busy() -> None:
        order.append("busy")
        if not sent.is_set():
            sent.set()
            calm.send()
        time.sleep(0.01)

    @dramatiq.actor(broker=broker, queue_name="calm")
    def calm() -> None:
        order.append("calm")

    sent = threading.Event()
    for _ in range(200):
        busy.send()
    with working(broker, threads=2):
        eventually(lambda: "calm" in order)
        broker.join("busy", timeout=30_000)
    assert order.index("calm") < 150

"""What Dramatiq's own tests expect of its Redis broker (tests/test_redis.py as of 2.2), expected of ours.

Written anew; each test names the behaviour. Covered: actors get their messages (100 of them); a failure is retried
after its back-off, several times; delays, each on its own; unacknowledged messages of a closed broker are requeued,
more than Lua's stack holds; dead letters and their clean-up; unknown actors; hand-back at shutdown of ready and of
delayed messages; join with a timeout; flush; a client of the caller's; ack and nack are tried again when the
connection fails; nack of an unknown id; join sees a message that a running actor just delayed (their issue 480).
Not applicable: building from a URL (ours always takes a client) and the dispatch through `do_*` attributes.
"""

import threading
import time
from collections.abc import Iterator

import dramatiq
import pytest
import redis
from dramatiq import Message, QueueJoinTimeout, Worker

from shared.broker import DurableRedisBroker
from tests.fixtures.tcp_proxy import TcpProxy
from tests.shared.broker.workshop import brisk_broker, eventually, impatient, texts, working

LUA_STACK = 8_000
PREFIX = "wpp:dramatiq"


@pytest.fixture
def broker(redis_client: redis.Redis) -> DurableRedisBroker:
    return brisk_broker(redis_client)


@pytest.fixture
def worker(broker: DurableRedisBroker) -> Iterator[Worker]:
    with working(broker, threads=8) as worker:
        yield worker


def message_for(actor: str) -> Message[None]:
    return Message(queue_name="some-queue", actor_name=actor, args=(), kwargs={}, options={})


def dead_letters(client: redis.Redis, queue: str) -> list[str]:
    return texts(client.zrange(f"{PREFIX}:{queue}.XQ", 0, -1))


def test_an_actor_gets_every_message(broker: DurableRedisBroker, worker: Worker) -> None:
    database: dict[str, int] = {}

    @dramatiq.actor(broker=broker)
    def put(key: str, value: int) -> None:
        database[key] = value

    for number in range(100):
        put.send(f"key-{number}", number)
    broker.join("default", timeout=5_000)
    worker.join()
    assert database == {f"key-{number}": number for number in range(100)}


@pytest.mark.usefixtures("worker")
def test_a_failure_is_retried_after_its_back_off(broker: DurableRedisBroker) -> None:
    runs: list[float] = []

    @dramatiq.actor(broker=broker, min_backoff=300, max_backoff=800, max_retries=1)
    def fail_once() -> None:
        runs.append(time.monotonic())
        if len(runs) == 1:
            msg = "the first time"
            raise RuntimeError(msg)

    fail_once.send()
    broker.join("default", timeout=5_000)
    assert len(runs) == 2
    assert 0.3 <= runs[1] - runs[0] <= 0.8


@pytest.mark.usefixtures("worker")
def test_it_is_retried_until_it_succeeds(broker: DurableRedisBroker) -> None:
    runs: list[int] = []

    @dramatiq.actor(broker=broker, min_backoff=50, max_backoff=100)
    def fail_thrice() -> None:
        runs.append(1)
        if len(runs) < 4:
            raise RuntimeError

    fail_thrice.send()
    broker.join("default", timeout=5_000)
    assert len(runs) == 4


@pytest.mark.usefixtures("worker")
def test_a_delayed_message_runs_when_its_delay_is_over(broker: DurableRedisBroker) -> None:
    ran: list[float] = []

    @dramatiq.actor(broker=broker)
    def record() -> None:
        ran.append(time.monotonic())

    sent = time.monotonic()
    record.send_with_options(delay=500)
    broker.join("default", timeout=5_000)
    assert 0.5 <= ran[0] - sent < 1


def test_each_delay_counts_for_itself(broker: DurableRedisBroker) -> None:
    """Also when both were enqueued before there was a worker."""
    results: list[int] = []

    @dramatiq.actor(broker=broker)
    def append(number: int) -> None:
        results.append(number)

    append.send_with_options(args=(2,), delay=500)
    append.send_with_options(args=(1,), delay=200)
    with working(broker):
        broker.join("default", timeout=5_000)
    assert results == [1, 2]


def test_what_a_closed_broker_had_fetched_is_requeued(redis_client: redis.Redis) -> None:
    """However much it is."""
    count = 2 * LUA_STACK
    gone, survivor = brisk_broker(redis_client), brisk_broker(redis_client)
    gone.declare_queue("some-queue")
    ids = {
        message.message_id
        for message in gone.enqueue_many(message_for("nobody") for _ in range(count))
    }
    assert len(gone.desk.queues.fetch("some-queue", count)) == count
    assert redis_client.llen(f"{PREFIX}:some-queue") == 0
    redis_client.zadd(f"{PREFIX}:alive:workers", {gone.desk.queues.worker: 0})
    survivor.desk.queues.tick(["some-queue"], heartbeat_timeout=20_000, dead_letter_ttl=1000)
    assert set(texts(redis_client.lrange(f"{PREFIX}:some-queue", 0, -1))) == ids


def test_a_message_that_fails_for_good_becomes_a_dead_letter(
    broker: DurableRedisBroker, worker: Worker
) -> None:
    """Many of them are cleaned up when their time is over."""
    count = 300

    @dramatiq.actor(broker=broker, max_retries=0)
    def fail() -> None:
        raise RuntimeError

    broker.enqueue_many(fail.message() for _ in range(count))
    broker.join("default", timeout=10_000)
    worker.join()
    assert len(dead_letters(broker.client, "default")) == count
    broker.desk.queues.tick(["default"], heartbeat_timeout=20_000, dead_letter_ttl=-1)
    assert dead_letters(broker.client, "default") == []


@pytest.mark.usefixtures("worker")
def test_a_message_for_an_unknown_actor_becomes_a_dead_letter(broker: DurableRedisBroker) -> None:
    broker.declare_queue("some-queue")
    message = broker.enqueue(message_for("nobody"))
    broker.join("some-queue", timeout=5_000)
    assert dead_letters(broker.client, "some-queue") == [message.options["redis_message_id"]]


def test_what_was_not_begun_is_handed_back_at_shutdown(broker: DurableRedisBroker) -> None:
    """To the head of the queue and in order, before what has come in since."""
    begun, finish = threading.Event(), threading.Event()

    @dramatiq.actor(broker=broker)
    def work(number: int) -> None:  # noqa: ARG001
        begun.set()
        finish.wait(5)

    sent = [work.send(number) for number in range(6)]
    with working(broker, threads=1):
        assert begun.wait(5)
        eventually(
            lambda: (
                broker.desk.held.get("default", set())
                == {message.message_id for message in sent[:2]}
            )
        )
        sent.append(work.send(6))
        threading.Timer(0.2, finish.set).start()
    assert broker.client.lrange(f"{PREFIX}:default", 0, -1) == [
        message.message_id.encode() for message in sent[1:]
    ]


def test_delayed_messages_stay_delayed_at_shutdown(broker: DurableRedisBroker) -> None:
    @dramatiq.actor(broker=broker)
    def work() -> None: ...

    message = work.send_with_options(delay=10_000)
    with working(broker):
        eventually(lambda: broker.keeper and broker.keeper.replies > 2)
    assert broker.client.zrange(f"{PREFIX}:default.DQ", 0, -1) == [message.message_id.encode()]


@pytest.mark.usefixtures("worker")
def test_join_gives_up_after_its_timeout(broker: DurableRedisBroker) -> None:
    @dramatiq.actor(broker=broker)
    def work() -> None:
        time.sleep(0.5)

    work.send()
    with pytest.raises(QueueJoinTimeout):
        broker.join("default", timeout=200)


def test_flushing_drops_everything(broker: DurableRedisBroker) -> None:
    @dramatiq.actor(broker=broker)
    def work() -> None: ...

    work.send()
    work.send_with_options(delay=10_000)
    broker.flush_all()
    broker.join("default", timeout=200)


def test_it_uses_the_client_that_it_was_given(redis_client: redis.Redis) -> None:
    assert DurableRedisBroker(client=redis_client).client is redis_client


@pytest.mark.parametrize("command", ["ack", "nack"])
def test_settling_is_tried_again_when_the_connection_fails(
    command: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it succeeds; the message is not run again meanwhile."""
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.1)
    port = redis_client.connection_pool.connection_kwargs["port"]
    with TcpProxy(port) as proxy:
        broker = brisk_broker(impatient(proxy.url, retries=0))
        runs: list[int] = []

        @dramatiq.actor(broker=broker, max_retries=0)
        def work() -> None:
            runs.append(1)
            if command == "nack":
                raise RuntimeError

        with working(broker):
            proxy.cut_after(f"\r\n{command}\r\n".encode(), times=2)
            work.send()
            eventually(lambda: proxy.hits == 2 and not broker.desk.held.get("default", set()))
        assert runs == [1]
        assert broker.desk.queues.size("default") == 0
        assert len(dead_letters(redis_client, "default")) == (command == "nack")


def test_rejecting_a_message_that_is_not_there_is_no_error(broker: DurableRedisBroker) -> None:
    broker.declare_queue("some-queue")
    consumer = broker.consume("some-queue")
    consumer.nack(message_for("nobody").copy(options={"redis_message_id": "unknown"}))
    assert dead_letters(broker.client, "some-queue") == []


@pytest.mark.usefixtures("worker")
def test_join_waits_for_what_a_running_actor_has_delayed(broker: DurableRedisBroker) -> None:
    """A message never is in between two counts."""
    called = threading.Event()

    @dramatiq.actor(broker=broker)
    def follow() -> None:
        called.set()

    @dramatiq.actor(broker=broker)
    def lead() -> None:
        follow.send_with_options(delay=400)

    lead.send()
    broker.join("default", interval=1, timeout=5_000)
    assert called.is_set()

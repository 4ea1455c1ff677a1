"""The consumer alone, without a keeper to wake it."""

import pytest
import redis
from dramatiq import Message
from dramatiq.errors import ConnectionClosed

from sandbox.redis import RedisServer
from shared.broker.consumer import Desk, DurableConsumer
from shared.broker.queues import Entry, Queues
from tests.fixtures.tcp_proxy import TcpProxy
from tests.shared.broker.workshop import impatient, texts


@pytest.fixture
def desk(redis_client: redis.Redis) -> Desk:
    return Desk(Queues(redis_client, "wpp:test"))


def fill(desk: Desk, count: int) -> list[str]:
    messages: list[Message[None]] = [
        Message(queue_name="q", actor_name="a", args=(), kwargs={}, options={})
        for _ in range(count)
    ]
    desk.queues.enqueue_many(
        Entry("q", message.message_id, message.encode()) for message in messages
    )
    return [message.message_id for message in messages]


def take(consumer: DurableConsumer) -> str | None:
    message = next(consumer)
    return message.message_id if message else None


def test_it_holds_no_more_than_its_prefetch_until_one_is_settled(desk: Desk) -> None:
    ids = fill(desk, 3)
    consumer = DurableConsumer(desk, "q", prefetch=2, timeout=10)
    first = next(consumer)
    assert first
    assert [first.message_id, take(consumer), take(consumer)] == [ids[0], ids[1], None]
    consumer.ack(first)
    assert take(consumer) == ids[2]


def test_its_successor_counts_what_it_left_in_the_hands_of_threads(desk: Desk) -> None:
    """Dramatiq builds a new consumer after an error, while the messages of the old one are still being worked on."""
    ids = fill(desk, 3)
    old = DurableConsumer(desk, "q", prefetch=2, timeout=10)
    assert take(old) == ids[0]
    old.close()
    new = DurableConsumer(desk, "q", prefetch=2, timeout=10)
    assert [take(new), take(new)] == [ids[1], None]


def test_closing_hands_back_what_was_not_delivered(desk: Desk) -> None:
    ids = fill(desk, 3)
    consumer = DurableConsumer(desk, "q", prefetch=3, timeout=10)
    take(consumer)
    consumer.close()
    assert texts(desk.queues.client.lrange("wpp:test:q", 0, -1)) == ids[1:]
    assert desk.held["q"] == {ids[0]}
    assert desk.consumers == {}


def test_it_delivers_nothing_more_once_the_worker_is_stopping(desk: Desk) -> None:
    fill(desk, 1)
    desk.stopping.set()
    assert take(DurableConsumer(desk, "q", prefetch=1, timeout=10)) is None
    assert desk.queues.client.llen("wpp:test:q") == 1


def test_every_failure_of_redis_is_one_that_dramatiq_waits_for(
    redis_server: RedisServer, desk: Desk
) -> None:
    """Also a timeout, which redis-py does not count among the connection errors."""
    fill(desk, 1)
    with TcpProxy(redis_server.port) as proxy:
        client = impatient(proxy.url, retries=0, socket_timeout_s=0.2)
        consumer = DurableConsumer(Desk(Queues(client, "wpp:test")), "q", prefetch=1, timeout=10)
        message = next(consumer)
        assert message
        proxy.swallow_after(b"\r\nack\r\n")
        with pytest.raises(ConnectionClosed):
            consumer.ack(message)
        proxy.refuse()
        with pytest.raises(ConnectionClosed):
            consumer.nack(message)
        with pytest.raises(ConnectionClosed):
            consumer.requeue([message])
        with pytest.raises(ConnectionClosed):
            next(consumer)

"""Only an answer that means something is a reply to the watchdog: a PING of a replica is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dramatiq.errors import ConnectionClosed

from sandbox.redis import RedisServer
from shared.lanes.broker import LaneBroker
from shared.lanes.codec import MessageCodec
from shared.lanes.consumer import REGISTER_EVERY_S, LaneConsumer
from shared.lanes.exchange import ClaimExchange
from shared.redis import connect


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.mark.parametrize("busy", [True, False])
def test_a_demoted_redis_gives_no_reply(server: RedisServer, *, busy: bool) -> None:
    """Whether the consumer waits for a free thread or for the bell."""
    with connect(server.url) as client:
        broker = LaneBroker(client)
        exchange = ClaimExchange(
            broker.lanes, "send", MessageCodec(broker), broker.capacity, lambda _: None
        )
        exchange.more = False
        consumer = LaneConsumer(exchange, 1, timeout_s=0.05)
        if busy:
            exchange.capacity.take("send", 1)
        assert next(consumer) is None
        replies = exchange.replies
        assert replies == (1 if busy else 2)
        client.replicaof("127.0.0.1", 1)
        consumer._registered_s -= REGISTER_EVERY_S  # noqa: SLF001 - the time has come
        with pytest.raises(ConnectionClosed):
            next(consumer)
        assert exchange.replies == replies

"""BLPOP may block for longer than a silent connection is waited for; on a real Redis."""

import time
from collections.abc import Iterator
from threading import Timer

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.redis import RedisServer
from shared.redis.pools import make_pool
from tests.fixtures.tcp_proxy import TcpProxy
from tests.fixtures.waiting import shortest_s

SILENCE_S = 1.0
BLOCKS_S = 2.2


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: TcpProxy, redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """Return a client that does not repeat. `redis_client` empties Redis."""
    assert redis_client.ping()
    pool = make_pool(proxy.url, socket_timeout=SILENCE_S, retry=Retry(NoBackoff(), 0))
    with redis.Redis.from_pool(pool) as client:
        yield client


def test_a_client_blocks_for_longer_than_its_timeout(client: redis.Redis) -> None:
    """Redis ends the wait; the connection stays, and later commands use it."""
    own_id = client.client_id()
    began_s = time.monotonic()
    assert client.blpop(["nothing"], BLOCKS_S) is None
    assert time.monotonic() - began_s >= BLOCKS_S
    assert client.client_id() == own_id


def test_what_is_pushed_late_arrives(client: redis.Redis, redis_client: redis.Redis) -> None:
    """Later than the timeout would allow, and at once."""

    def pop() -> None:
        push = Timer(1.5 * SILENCE_S, redis_client.rpush, ("list", "a"))
        push.start()
        assert client.blpop(["list"], 60) == (b"list", b"a")
        push.join()

    assert shortest_s(pop, BLOCKS_S) < BLOCKS_S


def test_a_dead_connection_is_noticed_after_the_wait(client: redis.Redis, proxy: TcpProxy) -> None:
    """Within the time of the command and the timeout: the connection is open, and silent."""

    def block() -> None:
        proxy.swallow_after(b"BLPOP")
        with pytest.raises(redis.TimeoutError):
            client.blpop(["nothing"], BLOCKS_S)

    most_s = BLOCKS_S + 2 * SILENCE_S
    assert BLOCKS_S < shortest_s(block, most_s) < most_s
    assert client.ping(), "over a new connection"


def test_other_commands_are_waited_for_as_before(client: redis.Redis, proxy: TcpProxy) -> None:
    """Also on a connection that has blocked, and in a pipeline."""

    def get() -> None:
        assert client.blpop(["nothing"], BLOCKS_S) is None
        proxy.swallow_after(b"GET")
        pipe = client.pipeline(transaction=False)
        pipe.get("nothing")
        with pytest.raises(redis.TimeoutError):
            pipe.execute()

    most_s = BLOCKS_S + 2 * SILENCE_S
    assert shortest_s(get, most_s) < most_s

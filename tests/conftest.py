"""Real parts that every test may use, started once for the session and only when asked for.

`redis_server`     the redis-server process (`RedisServer`: url, port, stop, kill, start); leave it running
`redis_client`     a `redis.Redis` (bytes in, bytes out) on it, empty at the start of each test
"""

from collections.abc import Iterator

import pytest
import redis

from sandbox.redis import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return the session's durable redis-server. A test that stops or kills it starts it again."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return a client of the session's Redis, which is empty."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client

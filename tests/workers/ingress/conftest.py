"""The door, started once for the session."""

from collections.abc import Iterator

import pytest
import redis

from sandbox.redis import RedisServer
from tests.workers.ingress.doors import SHARED_SECRET, Door


@pytest.fixture(scope="session")
def _door(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    settings = {"WPP_WEBHOOK_SECRET": SHARED_SECRET, "WPP_BODY_STALL_S": "1"}
    with Door(redis_server.url, tmp_path_factory.mktemp("door"), **settings) as door:
        yield door


@pytest.fixture
def door(_door: Door, redis_client: redis.Redis) -> Door:
    """Return the ingress, on an empty Redis. It gives a body up that pauses for a second."""
    del redis_client  # asked for because it empties Redis
    return _door


@pytest.fixture(scope="session")
def narrow_door(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Return an ingress that takes 100 kB a body, and has no shared secret."""
    with Door(redis_server.url, tmp_path_factory.mktemp("narrow"), WPP_BODY_LIMIT="100000") as door:
        yield door

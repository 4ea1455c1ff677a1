"""Commands of operators reach the shard of an event or an organization."""

from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.ports import free_port
from sandbox.redis import RedisServer
from shared.errors import OverloadedError
from shared.redis import keys
from shared.settings import RedisSettings
from tests.fixtures.two_redis import TwoRedis
from workers.repair.shard_clients import ShardClients


def test_an_event_is_found_on_any_shard(two_redis: TwoRedis) -> None:
    """An event that no shard knows is looked for on the home."""
    shards = ShardClients(two_redis.by_name, two_redis.table)
    event_id = uuid4()
    two_redis.other.hset(keys.event(event_id), "state", "sent")
    assert shards.of_event(event_id) is two_redis.other
    assert shards.of_event(uuid4()) is two_redis.home


def test_an_organization_is_found_unless_it_moves(two_redis: TwoRedis) -> None:
    shards = ShardClients(two_redis.by_name, two_redis.table)
    there, moving = uuid4(), uuid4()
    two_redis.home.hset(keys.SHARD_OF, str(there), "b")
    two_redis.home.hset(keys.SHARD_OF, str(moving), "a>b")
    assert shards.of_organization(there) is two_redis.other
    assert shards.of_organization(None) is two_redis.home
    with pytest.raises(OverloadedError, match="moves"):
        shards.of_organization(moving)


def test_what_is_read_of_all_shards_leaves_out_one_that_is_away(two_redis: TwoRedis) -> None:
    """Without any answer it is the home, so that the reader learns why."""
    away = redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    assert ShardClients(two_redis.by_name, two_redis.table).list_answering() == [
        two_redis.home,
        two_redis.other,
    ]
    partly = ShardClients({"a": two_redis.home, "b": away}, two_redis.table)
    assert partly.list_answering() == [two_redis.home]
    assert ShardClients({"a": away}, two_redis.table).list_answering() == [away]


def test_a_single_redis_is_that_of_everything(redis_server: RedisServer) -> None:
    shards = ShardClients.connect(RedisSettings(redis_url=SecretStr(redis_server.url)))
    assert list(shards.by_name) == [""]
    assert shards.of_organization(uuid4()) is shards.home
    assert shards.of_event(uuid4()) is shards.home

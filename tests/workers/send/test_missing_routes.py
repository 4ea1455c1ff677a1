"""What the platform lacks is remembered for a while."""

import redis

from sandbox.ports import LOCALHOST, free_port
from shared.redis import keys
from workers.send.missing_routes import REMEMBERED_S, remember_location


def test_a_missing_route_is_remembered_for_an_hour(redis_client: redis.Redis) -> None:
    """The platform may learn it."""
    remember_location(redis_client)
    assert 0 < redis_client.ttl(keys.NO_LOCATION_ROUTE) <= REMEMBERED_S


def test_nothing_is_raised_while_redis_is_away() -> None:
    """The message has gone out."""
    remember_location(redis.Redis(host=LOCALHOST, port=free_port()))

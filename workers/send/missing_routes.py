"""What the platform was lately found to lack, so that an answer can name the substitute ahead."""

from contextlib import suppress

import redis

from shared.redis import keys

REMEMBERED_S = 3600
"""The platform may learn it with its next release."""


def remember_location(client: "redis.Redis") -> None:
    """Remember that the platform has no route for a location.

    Nothing is raised while Redis is away: the message has gone out.
    """
    with suppress(redis.RedisError):
        client.set(keys.NO_LOCATION_ROUTE, 1, ex=REMEMBERED_S)

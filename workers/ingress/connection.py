"""The door's own connection to Redis, of the async kind."""

from collections.abc import Iterable
from typing import Any

import redis.asyncio
from pydantic import SecretStr
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

ANSWER_S = 3.0
"""How long Redis may take to confirm before a caller is told to try again."""
RETRIES = 2


class _KnownErrors:
    """uvloop says RuntimeError of a socket that was just reset, which redis-py neither repeats nor names."""

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except RuntimeError as error:
            msg = f"the connection was lost: {error}"
            raise redis.ConnectionError(msg) from error


def connect(url: SecretStr) -> "redis.asyncio.Redis":
    """Return a client that gives up after `ANSWER_S`; every way to lose Redis is a redis.RedisError.

    A connection that was closed while nobody used it (a restart, an idle limit) shows only when it is used: the command
    is sent once more, over a new one. Everything that we send may be repeated.
    """
    again = Retry(
        ExponentialWithJitterBackoff(base=0.02, cap=0.2),
        RETRIES,
        supported_errors=(redis.ConnectionError,),
    )
    pool: Any = redis.asyncio.ConnectionPool.from_url(
        url.get_secret_value(),
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        retry=again,
    )
    pool.connection_class = type("Connection", (_KnownErrors, pool.connection_class), {})
    return redis.asyncio.Redis.from_pool(pool)

"""Connection pools: of one address, or of the primary that sentinels name.

Their connections follow a failover (`shared.redis.failover`); sync ones may block for longer than
their timeout (`shared.redis.blocking`).
"""

from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from shared.redis.blocking import WaitWhileBlocked
from shared.redis.failover import FollowFailover, FollowFailoverAsync
from shared.redis_url import SentinelUrl, check_url, is_sentinel_url, parse_sentinel_url

SENTINEL_TIMEOUT_S = 1.0
"""How long one sentinel may take before the next one is asked."""


def make_pool(url: str, **options: Any) -> "redis.ConnectionPool":
    """Return a pool of sync connections; `options` are redis-py's.

    Raises:
        InvalidRedisUrlError: a part of the URL is wrong.
    """
    check_url(url)
    pool: redis.ConnectionPool
    if is_sentinel_url(url):
        parsed = parse_sentinel_url(url)
        sentinel = Sentinel(
            parsed.sentinels,
            sentinel_kwargs=_sentinel_options(parsed, Retry(NoBackoff(), retries=0)),
        )
        pool = _SentinelPool(  # type: ignore[no-untyped-call]
            parsed.service, sentinel, ssl=parsed.tls, **{**options, **parsed.options}
        )
    else:
        pool = redis.ConnectionPool.from_url(url, **_supported(url, options))
    bases = (FollowFailover, WaitWhileBlocked, pool.connection_class)
    pool.connection_class = type("Connection", bases, {})
    return pool


def make_async_pool(url: str, *mixins: type, **options: Any) -> "redis.asyncio.ConnectionPool":
    """Return a pool of async connections; `mixins` come before redis-py's connection class.

    Above `max_connections`, a command waits for a connection, for at most `timeout` s.

    Raises:
        InvalidRedisUrlError: a part of the URL is wrong.
    """
    check_url(url)
    pool: redis.asyncio.ConnectionPool
    if is_sentinel_url(url):
        parsed = parse_sentinel_url(url)
        sentinel = AsyncSentinel(
            parsed.sentinels,
            sentinel_kwargs=_sentinel_options(parsed, AsyncRetry(NoBackoff(), retries=0)),
        )
        pool = _AsyncSentinelPool(  # type: ignore[no-untyped-call]
            parsed.service, sentinel, ssl=parsed.tls, **{**options, **parsed.options}
        )
    else:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, **_supported(url, options))
    bases = (FollowFailoverAsync, *mixins, pool.connection_class)
    pool.connection_class = type("Connection", bases, {})
    return pool


class _SentinelPool(SentinelConnectionPool):
    """Closes the connections to the sentinels with its own."""

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


class _AsyncSentinelPool(AsyncSentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """Waits for a connection, and closes the connections to the sentinels with its own."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def _sentinel_options(parsed: SentinelUrl, retry: Any) -> dict[str, Any]:
    tls = {name: value for name, value in parsed.options.items() if name.startswith("ssl_")}
    return {
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        "retry": retry,
        "ssl": parsed.tls,
        **(tls if parsed.tls else {}),
        **parsed.credentials,
    }


def _supported(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without those that only TCP has, for a Unix socket."""
    if urlsplit(url).scheme != "unix":
        return options
    return {name: value for name, value in options.items() if name != "socket_keepalive"}

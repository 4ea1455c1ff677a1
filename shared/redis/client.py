"""Connections to Redis, the check of its durability, and the classification of its errors."""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import redis
import redis.asyncio
import structlog
from pydantic import SecretStr
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from shared.errors import NotDurableError
from shared.redis.pools import make_async_pool, make_pool
from shared.redis.replication import NotReplicatedError
from shared.settings import RedisSettings

MIN_VERSION = (6, 2)
SOCKET_TIMEOUT_S = 5
CONNECT_TIMEOUT_S = 2
CHECK_IDLE_AFTER_S = 30
RETRIES = 3
START_TIMEOUT_S = 2
START_PAUSE_S = 0.5
"""How long a starting process waits for Redis, and between two attempts."""
ASYNC_TIMEOUT_S = 3
"""Timeout of an attempt of the async client, which serves HTTP callers who wait."""
ASYNC_RETRIES = 2
ASYNC_MAX_CONNECTIONS = 64
"""Commands of the async client in flight at once; further commands wait for a connection."""
MAX_CONNECTIONS = 512
"""A connection per thread. Above the limit (100 by default) redis-py raises and does not wait."""

CONNECTION_ERRORS = (redis.ConnectionError, redis.TimeoutError)
"""No connection or no answer. redis-py also uses them for LOADING, AUTH, and MAX_CONNECTIONS."""
TRANSIENT_REPLY = re.compile(
    r"(?:^|[\s'\"-])"
    r"(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED)\b"
)
"""Error replies that may succeed later: full memory, a replica after a failover, a failing disk.

The code stands at the beginning of a command's error, after a minus in an error of a script
(6.2: `… @user_script: 18: -OOM command not allowed …`), and quoted in an error of redis-py's async
pipeline (`… caused error: ('READONLY …',)`).
"""

OUTAGES = {
    "READONLY": "Redis is a replica, which accepts no writes",
    "OOM": "Redis has no memory left",
    "MISCONF": "Redis cannot write to its disk",
    "LOADING": "Redis is loading its data",
    "MASTERDOWN": "Redis is a replica without its primary",
    "NOREPLICAS": "Redis has too few replicas to accept writes",
    "BUSY": "Redis is busy with a script",
}

log = structlog.get_logger(__name__)


def is_transient(error: BaseException) -> bool:
    """Return whether a later attempt may succeed: Redis is down, full, read-only, loading or busy.

    Any further error of Redis is a programming error.
    """
    if isinstance(error, (*CONNECTION_ERRORS, redis.OutOfMemoryError, redis.ReadOnlyError)):
        return True
    if isinstance(error, NotReplicatedError):
        return True
    return isinstance(error, redis.ResponseError) and bool(TRANSIENT_REPLY.search(str(error)))


def explain_outage(error: redis.RedisError) -> str:
    """Return why Redis accepts no writes now, in a sentence without an address."""
    if isinstance(error, NotReplicatedError):
        return f"Too few replicas of Redis confirm its writes: {error}"
    for code, reason in OUTAGES.items():
        if re.search(rf"\b{code}\b", str(error)):
            return reason
    if isinstance(error, redis.ReadOnlyError):
        return OUTAGES["READONLY"]
    if isinstance(error, redis.OutOfMemoryError):
        return OUTAGES["OOM"]
    return "Redis does not answer"


def connect(url: SecretStr | str) -> "redis.Redis":
    """Return a client that repeats a command when the connection fails.

    Every command we send may be repeated. The client connects when it is first used.
    """
    pool = make_pool(
        url.get_secret_value() if isinstance(url, SecretStr) else url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=CHECK_IDLE_AFTER_S,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), RETRIES),
    )
    return redis.Redis.from_pool(pool)


def connect_async(url: SecretStr) -> "redis.asyncio.Redis":
    """Return an async client that raises redis.RedisError for every failure to reach Redis.

    A connection that was closed while idle (a restart of Redis, its idle limit) fails on its next
    command; the command is sent again over a new connection. Every command we send may be repeated.
    """
    retry = AsyncRetry(
        ExponentialWithJitterBackoff(base=0.02, cap=0.2),
        ASYNC_RETRIES,
        supported_errors=(redis.ConnectionError,),
    )
    pool = make_async_pool(
        url.get_secret_value(),
        _UvloopErrors,
        socket_timeout=ASYNC_TIMEOUT_S,
        socket_connect_timeout=ASYNC_TIMEOUT_S,
        max_connections=ASYNC_MAX_CONNECTIONS,
        timeout=ASYNC_TIMEOUT_S,
        retry=retry,
    )
    return redis.asyncio.Redis.from_pool(pool)


class _UvloopErrors:
    """Translate the RuntimeError of uvloop for a socket that was just reset.

    redis-py neither retries it nor turns it into an error of its own.
    """

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


def connect_durable(settings: RedisSettings) -> "redis.Redis":
    """Return a client of a Redis that passes `check_durability`; raises as that function does.

    A Redis that does not answer is an error within 5 s, so that a start says at once why it fails.
    """
    _require_answer(settings.redis_url)
    client = connect(settings.redis_url)
    check_durability(client, allow=settings.wpp_allow_volatile_redis)
    return client


def _require_answer(url: SecretStr) -> None:
    """Raise redis.RedisError for a Redis that does not answer; less patient than `connect`."""
    pool = make_pool(
        url.get_secret_value(),
        socket_timeout=START_TIMEOUT_S,
        socket_connect_timeout=START_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    give_up_s = time.monotonic() + START_TIMEOUT_S
    with redis.Redis.from_pool(pool) as probe:
        while True:
            try:
                probe.ping()
            except CONNECTION_ERRORS:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(START_PAUSE_S)
            else:
                return


def check_durability(client: "redis.Redis", *, allow: bool = False) -> list[str]:
    """Check that Redis keeps every write it confirms; return and log the warnings.

    INFO replaces CONFIG where a managed Redis forbids CONFIG. With `allow`, faults are warnings.

    Raises:
        NotDurableError: Redis may lose or evict data; the message names the settings to change.
        redis.ReadOnlyError: Redis is a replica; the primary may be reached a moment later.
        redis.RedisError: Redis did not answer.
    """
    info: dict[str, Any] = client.info()
    if info.get("role") == "slave":  # the word of the protocol
        msg = "it is a replica"
        raise redis.ReadOnlyError(msg)
    config = _read_config(client)
    faults = list(_find_faults(info, config))
    warnings = list(_find_warnings(config))
    if faults and not allow:
        faults_text = "; ".join(faults)
        msg = (
            f"this Redis may lose accepted messages: {faults_text}. See its settings in the README."
        )
        raise NotDurableError(msg)
    warnings = [*faults, *warnings]
    for warning in warnings:
        log.warning("redis.durability", warning=warning)
    return warnings


def _find_faults(info: dict[str, Any], config: dict[str, str]) -> Iterator[str]:
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
        yield f"it is version {version}, and 6.2 is needed"
    if config.get("appendonly", "yes" if info.get("aof_enabled") else "no") != "yes":
        yield "appendonly is off: a restart loses all data (set `appendonly yes`)"
    policy = config.get("maxmemory-policy", info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        yield (
            f"maxmemory-policy is {policy}: data is evicted when memory is full "
            "(set `maxmemory-policy noeviction`)"
        )


def _find_warnings(config: dict[str, str]) -> Iterator[str]:
    if not config:
        yield "CONFIG is forbidden, so appendfsync could not be checked: it should be always"
        return
    fsync = config.get("appendfsync", "unknown")
    if fsync != "always":
        yield (
            f"appendfsync is {fsync}: a power failure may lose the last seconds "
            "(set `appendfsync always`)"
        )
    if config.get("no-appendfsync-on-rewrite") == "yes":
        yield "no-appendfsync-on-rewrite is yes: a power failure during a rewrite may lose more"


def _read_config(client: "redis.Redis") -> dict[str, str]:
    """Return the durability settings, or nothing where CONFIG is forbidden or renamed."""
    config: dict[Any, Any] = {}
    try:
        for pattern in ("append*", "no-append*", "maxmemory-policy"):
            config |= client.config_get(pattern)
    except redis.ResponseError:
        return {}
    return {_text(name): _text(value) for name, value in config.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

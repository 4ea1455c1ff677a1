"""Connections that follow a failover: what leads to a demoted primary is replaced.

A primary that is demoted keeps its connections open and answers every write with READONLY, while
the address, or the sentinels, lead to another server already. The first connection that sees such
an answer marks every connection of the process that was opened before: each is replaced when it
is next taken from its pool. Pipelines read all their replies first.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import redis
import structlog

DEMOTED = re.compile(
    r"(?:^|[\s'\"-])(READONLY|MASTERDOWN|LOADING|NOREPLICAS|previous master is now a slave)\b"
)
"""Replies of a server that may no longer be the primary; the last is redis-py's with Sentinel."""

SUSPECT_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class Failovers:
    """Counts the failovers that this process has noticed; a process talks to one Redis."""

    def __init__(self) -> None:
        self.count = 0
        self.listeners: list[Callable[[str], object]] = []
        """They are called with the cause of each, such as READONLY."""
        self._suspected_s = -SUSPECT_EVERY_S

    def notice(self, reason: str) -> None:
        """Have every open connection replaced before its next use."""
        self.count += 1
        for listener in self.listeners:
            listener(name_cause(reason))
        log.warning("redis.reconnecting", reason=reason)

    def suspect(self, reason: str) -> None:
        """Do the same, once in a while: this primary may have been left behind, or be all right."""
        now = time.monotonic()
        if now - self._suspected_s >= SUSPECT_EVERY_S:
            self._suspected_s = now
            self.notice(reason)


FAILOVERS = Failovers()


def name_cause(reason: str) -> str:
    """Return the word for why connections were replaced, for a metric."""
    found = DEMOTED.search(reason)
    if not found:
        return "NOT_REPLICATED"
    return found[1] if found[1].isupper() else "SWITCHED"


def is_demotion(error: BaseException) -> bool:
    """Return whether an error reply says that its server is not the primary (any more)."""
    if isinstance(error, redis.ReadOnlyError):
        return True
    return isinstance(error, redis.RedisError) and bool(DEMOTED.search(str(error)))


class _Following:
    """What the sync and the async connection have in common. Mixed into a class of redis-py."""

    opened_at = 0
    """`FAILOVERS.count` when it was connected."""

    @property
    def outdated(self) -> bool:
        return self.opened_at != FAILOVERS.count

    def note(self, error: redis.RedisError) -> None:
        if not self.outdated and is_demotion(error):
            FAILOVERS.notice(str(error))


class FollowFailover(_Following):
    """A mixin for a connection class of `redis.connection`."""

    def connect(self) -> None:
        if self.outdated:
            self.disconnect()  # type: ignore[attr-defined]
        super().connect()  # type: ignore[misc]

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        if not self.is_connected:  # type: ignore[attr-defined]
            self.opened_at = FAILOVERS.count
        super().connect_check_health(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            self.note(error)
            raise


class FollowFailoverAsync(_Following):
    """A mixin for a connection class of `redis.asyncio.connection`."""

    async def connect(self) -> None:
        if self.outdated:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
        await super().connect()  # type: ignore[misc]

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        if not self.is_connected:  # type: ignore[attr-defined]
            self.opened_at = FAILOVERS.count
        await super().connect_check_health(*args, **options)  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            self.note(error)
            raise

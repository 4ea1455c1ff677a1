"""Writes that count once replicas have them, so that a failover to a replica loses none of them.

WAIT follows the write on its connection, in the same round trip, and returns how many replicas
have acknowledged all that the primary had written by then. So it also confirms an earlier write
whose own confirmation failed: an idempotent write may be sent again.
"""

from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

from shared.redis import keys
from shared.redis.failover import FAILOVERS
from shared.redis.scripts import LuaScript, run_pipeline, run_pipeline_async

REPLICATION_TIMEOUT_S = 1.0
"""How long replicas may take; less than the clients' time limit of an answer."""
WRITE_CHECK_TTL_S = 60


class NotReplicatedError(redis.RedisError):
    """The primary has executed a write, and too few replicas have confirmed it in time.

    A failover may lose the write, or keep it: sending it again is safe. `reply` is the primary's.
    """

    def __init__(self, message: str, reply: Any = None) -> None:
        super().__init__(message)
        self.reply = reply


def run_replicated(
    client: "redis.Redis", script: LuaScript, names: Sequence[str], args: Sequence[Any], count: int
) -> Any:
    """Call a script, and return its reply once `count` replicas have what it wrote.

    Raises:
        NotReplicatedError: fewer replicas confirmed it within `REPLICATION_TIMEOUT_S`.
        redis.RedisError: any other failure.
    """
    if not count:
        return script.run(client, names, args)

    def fill(pipe: Any) -> None:
        script.add_to(pipe, names, args)
        _add_wait(pipe, count)

    return _confirm(run_pipeline(client, [script], fill, raise_on_error=False), count)


async def run_replicated_async(
    client: "redis.asyncio.Redis",
    script: LuaScript,
    names: Sequence[str],
    args: Sequence[Any],
    count: int,
) -> Any:
    """Do what `run_replicated` does, on an async client."""
    if not count:
        return await script.run_async(client, names, args)

    def fill(pipe: Any) -> None:
        script.add_to(pipe, names, args)
        _add_wait(pipe, count)

    return _confirm(await run_pipeline_async(client, [script], fill, raise_on_error=False), count)


def check_writable(client: "redis.Redis", count: int) -> None:
    """Write a key, and have `count` replicas confirm it and all that was written before.

    Raises:
        NotReplicatedError: fewer replicas confirmed it.
        redis.RedisError: Redis accepts no writes now.
    """
    replies = run_pipeline(client, [], lambda pipe: _add_check(pipe, count), raise_on_error=False)
    _confirm(replies if count else [*replies, 0], count)


async def check_writable_async(client: "redis.asyncio.Redis", count: int) -> None:
    """Do what `check_writable` does, on an async client."""
    replies = await run_pipeline_async(
        client, [], lambda pipe: _add_check(pipe, count), raise_on_error=False
    )
    _confirm(replies if count else [*replies, 0], count)


def _add_check(pipe: Any, count: int) -> None:
    pipe.set(keys.WRITE_CHECK, 1, ex=WRITE_CHECK_TTL_S)
    if count:
        _add_wait(pipe, count)


def _add_wait(pipe: Any, count: int) -> None:
    pipe.execute_command("WAIT", count, int(REPLICATION_TIMEOUT_S * 1000))


def _confirm(replies: Sequence[Any], count: int) -> Any:
    """Return the reply of the write, the first one; the last one is that of WAIT."""
    reply, confirmed = replies
    if isinstance(reply, Exception):
        raise reply
    if isinstance(confirmed, Exception):  # the primary was demoted in between
        FAILOVERS.suspect(str(confirmed))
        raise NotReplicatedError(str(confirmed), reply) from confirmed
    if confirmed < count:
        msg = f"{confirmed} of {count} replicas have confirmed a write within 1 s"
        FAILOVERS.suspect(msg)
        raise NotReplicatedError(msg, reply)
    return reply

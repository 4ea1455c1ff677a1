"""Lua scripts: load them from a package, call them, and load them again after a restart of Redis.

Redis caches a script under its SHA-1 and forgets it when it restarts: EVALSHA then answers
NOSCRIPT. Each way to call a script handles that once, by loading and calling again. A pipeline is
executed again as a whole, so every command in it must be safe to repeat.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError


class LuaScript:
    """A script. `run` calls it, `run_async` awaits it, `add_to` puts a call into a pipeline."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def from_package(cls, package: str, name: str) -> "LuaScript":
        """Read the file `name` of `package`."""
        return cls(files(package).joinpath(name).read_text())

    def run(self, client: "redis.Redis", keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Call the script and return its reply; raises redis.RedisError."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            client.script_load(self.source)
            return client.evalsha(self.sha, len(keys), *keys, *args)

    async def run_async(
        self, client: "redis.asyncio.Redis", keys: Sequence[str], args: Sequence[Any] = ()
    ) -> Any:
        """Call the script and return its reply; raises redis.RedisError."""
        try:
            return await client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            await client.script_load(self.source)
            return await client.evalsha(self.sha, len(keys), *keys, *args)

    def add_to(self, pipe: Any, keys: Sequence[str], args: Sequence[Any] = ()) -> None:
        """Add a call to a pipeline of `run_pipeline` or `run_pipeline_async`."""
        pipe.evalsha(self.sha, len(keys), *keys, *args)


def run_pipeline(
    client: "redis.Redis",
    scripts: Sequence[LuaScript],
    fill: Callable[[Any], object],
    *,
    transaction: bool = False,
    raise_on_error: bool = True,
) -> list[Any]:
    """Execute the commands that `fill` adds to a pipeline, and return their replies.

    `scripts` are those that `fill` calls. Without `raise_on_error` a failed command's reply is its
    exception.

    Raises:
        redis.RedisError: Redis did not answer, or (with `raise_on_error`) a command failed.
    """
    for last_try in (False, True):
        pipe = client.pipeline(transaction=transaction)
        fill(pipe)
        replies = pipe.execute(raise_on_error=False)
        if last_try or not _has_no_script(replies):
            break
        for script in scripts:
            client.script_load(script.source)
    return _checked(replies, raise_on_error=raise_on_error)


async def run_pipeline_async(
    client: "redis.asyncio.Redis",
    scripts: Sequence[LuaScript],
    fill: Callable[[Any], object],
    *,
    transaction: bool = False,
    raise_on_error: bool = True,
) -> list[Any]:
    """Do what `run_pipeline` does, on an async client."""
    for last_try in (False, True):
        pipe = client.pipeline(transaction=transaction)
        fill(pipe)
        replies = await pipe.execute(raise_on_error=False)
        if last_try or not _has_no_script(replies):
            break
        for script in scripts:
            await client.script_load(script.source)
    return _checked(replies, raise_on_error=raise_on_error)


def _has_no_script(replies: Sequence[Any]) -> bool:
    return any(isinstance(reply, NoScriptError) for reply in replies)


def _checked(replies: list[Any], *, raise_on_error: bool) -> list[Any]:
    if raise_on_error:
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
    return replies

"""A script runs after a restart of Redis, which has forgotten it, however it is called."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.exceptions import ResponseError

from sandbox.redis import RedisServer
from shared.redis.scripts import LuaScript, run_pipeline, run_pipeline_async

ROOT = Path(__file__).parents[3]
TO_CONVERT = {
    "shared/producer.py",
    "workers/ingress/enqueue.py",
}
"""Files that still load scripts themselves. Remove a file when it is converted; it ends empty."""
LOADING = ("evalsha", "script_load", "register_script", "NoScriptError")

COUNT = LuaScript("return redis.call('INCRBY', KEYS[1], ARGV[1])")
ECHO = LuaScript("return ARGV[1]")
FAIL = LuaScript("return redis.error_reply('no such command')")


@asynccontextmanager
async def async_client(server: RedisServer) -> AsyncIterator["redis.asyncio.Redis"]:
    """Open an async client for the length of the block."""
    client = redis.asyncio.Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()


def fill(pipe: Any) -> None:
    """Add two scripts and a plain command."""
    COUNT.add_to(pipe, ["n"], [2])
    ECHO.add_to(pipe, [], ["x"])
    pipe.set("plain", 1)


def test_a_file_of_a_package_is_loaded() -> None:
    """The source is the file's text, and its SHA-1 is the name that Redis uses."""
    script = LuaScript.from_package("workers.send", "pacing.lua")
    assert "redis.call" in script.source
    assert len(script.sha) == 40


def test_a_call_loads_a_script_that_redis_does_not_know(redis_client: redis.Redis) -> None:
    """The caller sees no error, and the script runs once."""
    redis_client.script_flush()
    assert COUNT.run(redis_client, ["n"], [2]) == 2
    assert redis_client.script_exists(COUNT.sha) == [True]
    assert COUNT.run(redis_client, ["n"], [1]) == 3


def test_an_async_call_loads_a_script_that_redis_does_not_know(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The caller sees no error, and the script runs once."""
    redis_client.script_flush()

    async def call() -> Any:
        async with async_client(redis_server) as client:
            return await COUNT.run_async(client, ["n"], [2])

    assert asyncio.run(call()) == 2


@pytest.mark.parametrize("transaction", [False, True])
def test_a_pipeline_loads_its_scripts_and_runs_again(
    redis_client: redis.Redis, *, transaction: bool
) -> None:
    """Scripts that Redis does not know did nothing at the first try."""
    redis_client.script_flush()
    replies = run_pipeline(redis_client, [COUNT, ECHO], fill, transaction=transaction)
    assert replies == [2, b"x", True]


@pytest.mark.parametrize("transaction", [False, True])
def test_an_async_pipeline_loads_its_scripts_and_runs_again(
    redis_server: RedisServer, redis_client: redis.Redis, *, transaction: bool
) -> None:
    """The async twin does the same."""
    redis_client.script_flush()

    async def call() -> list[Any]:
        async with async_client(redis_server) as client:
            return await run_pipeline_async(client, [COUNT, ECHO], fill, transaction=transaction)

    assert asyncio.run(call()) == [2, b"x", True]


def test_a_known_script_costs_one_round_trip(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing asks Redis beforehand whether it knows the scripts."""
    run_pipeline(redis_client, [COUNT, ECHO], fill)

    def refuse(*_: object) -> None:
        pytest.fail("a known script was loaded")

    monkeypatch.setattr(redis_client, "script_load", refuse)
    assert run_pipeline(redis_client, [COUNT, ECHO], fill)[0] == 4
    assert COUNT.run(redis_client, ["n"], [1]) == 5


@pytest.mark.parametrize(
    "run",
    [
        lambda client: FAIL.run(client, []),
        lambda client: run_pipeline(client, [FAIL], lambda pipe: FAIL.add_to(pipe, [])),
    ],
)
def test_an_error_of_a_script_is_raised(
    redis_client: redis.Redis, run: Callable[[redis.Redis], Any]
) -> None:
    """Only NOSCRIPT is handled."""
    with pytest.raises(ResponseError, match="no such command"):
        run(redis_client)


def test_an_error_in_a_pipeline_may_be_returned(redis_client: redis.Redis) -> None:
    """A batch of independent commands needs the replies of those that succeeded."""

    def fill_one_that_fails(pipe: Any) -> None:
        COUNT.add_to(pipe, ["n"], [1])
        FAIL.add_to(pipe, [])

    replies = run_pipeline(redis_client, [COUNT, FAIL], fill_one_that_fails, raise_on_error=False)
    assert replies[0] == 1
    assert isinstance(replies[1], ResponseError)


def test_scripts_are_loaded_in_a_single_module() -> None:
    """NOSCRIPT is handled there and nowhere else."""
    loading = {
        path.relative_to(ROOT).as_posix()
        for folder in ("shared", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text() for word in LOADING)
    }
    assert loading - {"shared/redis/scripts.py"} <= TO_CONVERT

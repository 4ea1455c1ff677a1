"""After a failover behind one address, the next use of a connection reaches the new primary."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from shared.redis.client import connect, connect_async, is_transient
from shared.redis.scripts import LuaScript, run_pipeline, run_pipeline_async
from tests.fixtures.replicated_redis import ReplicatedRedis

SET = LuaScript("return redis.call('SET', KEYS[1], ARGV[1])")
CONNECTIONS = 4


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis(tmp_path) as servers:
        yield servers


def read_primary(servers: ReplicatedRedis) -> Any:
    with redis.Redis.from_url(servers.primary.url) as client:
        return client.get("written")


def write_by_command(client: "redis.Redis", value: str) -> None:
    client.set("written", value)


def write_by_script(client: "redis.Redis", value: str) -> None:
    SET.run(client, ["written"], [value])


def write_by_pipeline(client: "redis.Redis", value: str) -> None:
    def fill(pipe: Any) -> None:
        pipe.get("before")
        SET.add_to(pipe, ["written"], [value])
        pipe.get("after")

    run_pipeline(client, [SET], fill)


def write_by_transaction(client: "redis.Redis", value: str) -> None:
    run_pipeline(client, [], lambda pipe: pipe.set("written", value), transaction=True)


def write_by_blocking_pop(client: "redis.Redis", value: str) -> None:
    client.blpop(["none"], timeout=0.01)
    client.set("written", value)


WAYS = [
    write_by_command,
    write_by_script,
    write_by_pipeline,
    write_by_transaction,
    write_by_blocking_pop,
]


@pytest.mark.parametrize("write", WAYS)
def test_the_second_write_reaches_the_new_primary(
    servers: ReplicatedRedis, write: Callable[["redis.Redis", str], None]
) -> None:
    """The first write fails with a transient error; all connections of the pool are replaced."""
    with connect(servers.url) as client:
        write(client, "before")
        pool = client.connection_pool
        for connection in [pool.get_connection() for _ in range(CONNECTIONS)]:
            pool.release(connection)
        servers.fail_over()
        with pytest.raises(redis.RedisError) as error:
            write(client, "refused")
        assert is_transient(error.value)
        for number in range(CONNECTIONS):
            write(client, f"after {number}")
        connections = [pool.get_connection() for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.send_command("ROLE")
            assert connection.read_response()[0] == b"master"
            pool.release(connection)
    assert read_primary(servers) == f"after {CONNECTIONS - 1}".encode()


async def write_async_by_command(client: Any, value: str) -> None:
    await client.set("written", value)


async def write_async_by_script(client: Any, value: str) -> None:
    await SET.run_async(client, ["written"], [value])


async def write_async_by_pipeline(client: Any, value: str) -> None:
    def fill(pipe: Any) -> None:
        SET.add_to(pipe, ["written"], [value])
        pipe.get("after")

    await run_pipeline_async(client, [SET], fill)


ASYNC_WAYS = [write_async_by_command, write_async_by_script, write_async_by_pipeline]


@pytest.mark.parametrize("write", ASYNC_WAYS)
def test_the_second_async_write_reaches_the_new_primary(
    servers: ReplicatedRedis, write: Callable[[Any, str], Any]
) -> None:
    """So it is with the async client, whose requests share a pool."""

    async def run() -> None:
        client = connect_async(SecretStr(servers.url))
        try:
            for number in range(CONNECTIONS):
                await write(client, f"before {number}")
            await asyncio.gather(*(client.ping() for _ in range(CONNECTIONS)))
            servers.fail_over()
            with pytest.raises(redis.RedisError) as error:
                await write(client, "refused")
            assert is_transient(error.value)
            for number in range(CONNECTIONS):
                await write(client, f"after {number}")
            roles = await asyncio.gather(*(client.role() for _ in range(CONNECTIONS)))
            assert {role[0] for role in roles} == {b"master"}
        finally:
            await client.aclose()

    asyncio.run(run())
    assert read_primary(servers) == f"after {CONNECTIONS - 1}".encode()


def test_a_demotion_that_one_client_sees_moves_every_client_of_the_process(
    servers: ReplicatedRedis,
) -> None:
    """A client that only reads would otherwise read from the demoted server."""
    with connect(servers.url) as writer, connect(servers.url) as reader:
        assert [writer.ping(), reader.role()[0]] == [True, b"master"]
        servers.fail_over()
        assert reader.role()[0] == b"slave"
        with pytest.raises(redis.RedisError):
            writer.set("written", 1)
        assert reader.role()[0] == b"master"

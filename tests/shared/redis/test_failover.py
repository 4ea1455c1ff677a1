"""After a failover behind one address, the next use of a connection reaches the new primary."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.redis.client import connect, connect_async, is_transient
from shared.redis.scripts import LuaScript, run_pipeline, run_pipeline_async
from tests.fixtures.tcp_proxy import TcpProxy

SET = LuaScript("return redis.call('SET', KEYS[1], ARGV[1])")
CONNECTIONS = 4


class Pair:
    """Two servers behind one address, which leads to the first."""

    def __init__(self, first: RedisServer, second: RedisServer, proxy: TcpProxy) -> None:
        self.first = first
        self.second = second
        self.proxy = proxy

    def fail_over(self) -> None:
        """Demote the first, which keeps its connections, and switch the address."""
        with redis.Redis.from_url(self.first.url) as client:
            client.replicaof("127.0.0.1", self.second.port)
        self.proxy.switch(self.second.port)

    def value(self) -> bytes | None:
        """Return what was written to the second server."""
        with redis.Redis.from_url(self.second.url) as client:
            found: Any = client.get("written")
            return None if found is None else bytes(found)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with (
        RedisServer(tmp_path / "first") as first,
        RedisServer(tmp_path / "second") as second,
        TcpProxy(first.port) as proxy,
    ):
        yield Pair(first, second, proxy)


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
    pair: Pair, write: Callable[["redis.Redis", str], None]
) -> None:
    """The first write fails with a transient error; all connections of the pool are replaced."""
    with connect(pair.proxy.url) as client:
        write(client, "before")
        pool = client.connection_pool
        for connection in [pool.get_connection() for _ in range(CONNECTIONS)]:
            pool.release(connection)
        pair.fail_over()
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
    assert pair.value() == f"after {CONNECTIONS - 1}".encode()


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
    pair: Pair, write: Callable[[Any, str], Any]
) -> None:
    """So it is with the async client, whose requests share a pool."""

    async def run() -> None:
        client = connect_async(SecretStr(pair.proxy.url))
        try:
            for number in range(CONNECTIONS):
                await write(client, f"before {number}")
            await asyncio.gather(*(client.ping() for _ in range(CONNECTIONS)))
            pair.fail_over()
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
    assert pair.value() == f"after {CONNECTIONS - 1}".encode()


def test_a_demotion_that_one_client_sees_moves_every_client_of_the_process(pair: Pair) -> None:
    """A client that only reads would otherwise read from the demoted server."""
    with connect(pair.proxy.url) as writer, connect(pair.proxy.url) as reader:
        assert [writer.ping(), reader.role()[0]] == [True, b"master"]
        pair.fail_over()
        assert reader.role()[0] == b"slave"
        with pytest.raises(redis.RedisError):
            writer.set("written", 1)
        assert reader.role()[0] == b"master"

"""Every way to lose Redis is a redis.RedisError of the async client."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import uvloop
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.redis.client import connect_async
from tests.fixtures.tcp_proxy import TcpProxy


@pytest.fixture
def wire(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """Return a wire to Redis that can be cut."""
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@asynccontextmanager
async def connected(wire: TcpProxy) -> AsyncIterator[Any]:
    client = connect_async(SecretStr(wire.url))
    try:
        yield client
    finally:
        await client.aclose()


def test_a_connection_reset_while_it_is_written_to_is_a_redis_error(wire: TcpProxy) -> None:
    """uvloop, which uvicorn runs on, raises a RuntimeError of its own there."""

    async def ask() -> None:
        async with connected(wire) as client:
            assert await client.ping()
            connection = await client.connection_pool.get_connection()
            connection._writer.transport.abort()  # noqa: SLF001 - as when a reset was just noticed
            with pytest.raises(redis.ConnectionError):
                await connection.send_command("PING")
            await client.connection_pool.release(connection)
            assert await client.ping(), "the next command has a connection again"

    uvloop.run(ask())


def test_a_redis_that_resets_every_connection_is_a_redis_error(wire: TcpProxy) -> None:
    async def ask() -> None:
        async with connected(wire) as client:
            assert await client.ping()
            wire.refuse()
            for _ in range(3):
                with pytest.raises(redis.ConnectionError):
                    await client.ping()
            wire.accept()
            assert await client.ping()

    uvloop.run(ask())


def test_connections_that_were_closed_while_idle_cost_no_request(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """After a restart of Redis, or its idle limit: each command and each pipeline goes out over a new one."""

    async def ask() -> None:
        client = connect_async(SecretStr(redis_server.url))

        async def pipelined(*, transaction: bool) -> Any:
            pipe = client.pipeline(transaction=transaction)
            pipe.set("a", 1)
            pipe.get("a")
            return await pipe.execute()

        try:
            for _ in range(3):
                await asyncio.gather(*(client.ping() for _ in range(8)))
                redis_client.client_kill_filter(_type="normal", skipme=True)
                assert await client.get("none") is None
                assert await pipelined(transaction=True) == [True, b"1"]
                assert await pipelined(transaction=False) == [True, b"1"]
        finally:
            await client.aclose()

    uvloop.run(ask())

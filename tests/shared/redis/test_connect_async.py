"""Every failure of the connection is a redis.RedisError of the async client."""

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
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """Return a proxy to Redis that can cut its connections."""
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


@asynccontextmanager
async def connected(proxy: TcpProxy) -> AsyncIterator[Any]:
    client = connect_async(SecretStr(proxy.url))
    try:
        yield client
    finally:
        await client.aclose()


def test_a_reset_during_a_write_is_a_redis_error(proxy: TcpProxy) -> None:
    """uvloop, the event loop of uvicorn, raises a RuntimeError for it."""

    async def run() -> None:
        async with connected(proxy) as client:
            assert await client.ping()
            connection = await client.connection_pool.get_connection()
            connection._writer.transport.abort()  # noqa: SLF001 - as when a reset was just noticed
            with pytest.raises(redis.ConnectionError):
                await connection.send_command("PING")
            await client.connection_pool.release(connection)
            assert await client.ping(), "the next command has a new connection"

    uvloop.run(run())


def test_a_refused_connection_is_a_redis_error(proxy: TcpProxy) -> None:
    """The client works again once Redis accepts connections."""

    async def run() -> None:
        async with connected(proxy) as client:
            assert await client.ping()
            proxy.refuse()
            for _ in range(3):
                with pytest.raises(redis.ConnectionError):
                    await client.ping()
            proxy.accept()
            assert await client.ping()

    uvloop.run(run())


def test_a_connection_closed_while_idle_is_replaced(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Commands and pipelines succeed after a restart of Redis or its idle limit."""

    async def run() -> None:
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

    uvloop.run(run())

"""Concurrent reads share a round trip, and each gets its own values."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
import uvloop
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.redis.client import connect_async
from tests.fixtures.tcp_proxy import TcpProxy
from workers.ingress.reads import MAX_NAMES, BatchingReader


@asynccontextmanager
async def open_reader(url: str) -> AsyncIterator[BatchingReader]:
    client = connect_async(SecretStr(url))
    try:
        yield BatchingReader(client.mget)
    finally:
        await client.aclose()


def count_reads(client: redis.Redis) -> int:
    found: dict[str, dict[str, int]] = client.info("commandstats")
    return found.get("cmdstat_mget", {"calls": 0})["calls"]


def test_each_read_gets_its_own_values(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Also those that several ask for; None stands for what is not there."""
    redis_client.mset({"a": "1", "b": "2"})

    async def read() -> None:
        async with open_reader(redis_server.url) as reader:
            found = await asyncio.gather(
                reader.read(["a", "b"]), reader.read(["b", "none"]), reader.read(["a", "a"])
            )
            assert list(found) == [[b"1", b"2"], [b"2", None], [b"1", b"1"]]

    uvloop.run(read())


def test_reads_of_a_moment_share_a_round_trip(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """One command for a batch."""

    async def read() -> None:
        async with open_reader(redis_server.url) as reader:
            await asyncio.gather(*(reader.read([str(n)]) for n in range(3 * MAX_NAMES)))

    before = count_reads(redis_client)
    uvloop.run(read())
    assert count_reads(redis_client) - before == 3


def test_a_read_sees_what_was_written_before(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Also while an earlier read is under way."""

    async def read() -> None:
        async with open_reader(redis_server.url) as reader:
            for number in range(50):
                earlier = asyncio.create_task(reader.read(["a"]))
                await asyncio.sleep(0)
                redis_client.set("a", number)
                assert await reader.read(["a"]) == [str(number).encode()]
                await earlier

    uvloop.run(read())


def test_an_outage_fails_the_reads_of_its_moment(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Later reads succeed."""
    redis_client.set("a", "1")

    async def read() -> None:
        with TcpProxy(redis_server.port) as wire:
            async with open_reader(wire.url) as reader:
                assert await reader.read(["a"]) == [b"1"]
                wire.refuse()
                lost = await asyncio.gather(
                    *(reader.read(["a"]) for _ in range(5)), return_exceptions=True
                )
                assert all(isinstance(each, redis.ConnectionError) for each in lost)
                wire.accept()
                assert await reader.read(["a"]) == [b"1"]

    uvloop.run(read())


def test_a_cancelled_read_leaves_the_rest(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """A client that disconnects has no effect on others."""
    redis_client.set("a", "1")

    async def read() -> None:
        async with open_reader(redis_server.url) as reader:
            gone = asyncio.create_task(reader.read(["a"]))
            other = asyncio.create_task(reader.read(["a"]))
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert await other == [b"1"]

    uvloop.run(read())

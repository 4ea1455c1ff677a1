"""Requests in flight at the same moment share a round trip, and each gets the answer to its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
import redis
import uvloop
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared import routing
from shared.errors import IdempotencyConflictError, OverloadedError
from shared.events import Message
from shared.lanes.client import Append, Lanes
from shared.redis import keys
from shared.redis.client import connect_async
from shared.settings import EngineSettings
from tests.fixtures.tcp_proxy import TcpProxy
from workers.ingress.enqueue import MAX_BATCH, MAX_WAKEUPS, BatchingProducer

ORGANIZATION, INTEGRATION = uuid4(), uuid4()


def message(text: str, key: str | None = None) -> Append:
    return routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text=text), key)


@asynccontextmanager
async def grouping(client: "redis.Redis", url: str) -> AsyncIterator[BatchingProducer]:
    own = connect_async(SecretStr(url))
    try:
        yield BatchingProducer(own, Lanes(client, EngineSettings()))
    finally:
        await own.aclose()


def test_each_of_many_is_kept_in_order(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """More than one group's worth, in one lane: in the order in which they came."""

    async def append() -> None:
        async with grouping(redis_client, redis_server.url) as appends:
            items = [message(str(number)) for number in range(3 * MAX_BATCH)]
            accepted = await asyncio.gather(*(appends.append(item) for item in items))
            assert [each.id for each in accepted] == [item.event.id for item in items]
            kept = redis_client.lrange(keys.lane(items[0].lane), 0, -1)
            assert kept == [str(item.event.id).encode() for item in items]

    uvloop.run(append())


def test_each_hears_its_own_answer(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """New, known, and a key that stands for something else: in one group, without harm to the others."""

    async def append() -> None:
        async with grouping(redis_client, redis_server.url) as appends:
            items = [
                message("one", "a"),
                message("one", "a"),
                message("two", "a"),
                message("three", "b"),
            ]
            first, again, conflict, other = await asyncio.gather(
                *(appends.append(item) for item in items), return_exceptions=True
            )
            assert [getattr(each, "new", None) for each in (first, again, other)] == [
                True,
                False,
                True,
            ]
            assert isinstance(conflict, IdempotencyConflictError)

    uvloop.run(append())


def test_a_full_outbox_refuses(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    async def append() -> None:
        async with grouping(redis_client, redis_server.url) as appends:
            appends._lanes = Lanes(redis_client, EngineSettings(wpp_outbox_limit=1))  # noqa: SLF001 - as a setting has it
            with pytest.raises(OverloadedError):
                await appends.append_all([message("one"), message("two")])

    uvloop.run(append())


def test_a_redis_that_forgot_its_scripts_is_taught_again(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    async def append() -> None:
        async with grouping(redis_client, redis_server.url) as appends:
            redis_client.script_flush()
            assert (await appends.append(message("one"))).new

    uvloop.run(append())


def test_a_group_wakes_no_more_than_can_work(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """One for each event, up to a handful: each goes on until nothing is ready."""

    async def append(count: int) -> None:
        async with grouping(redis_client, redis_server.url) as appends:
            items = [replace(message(str(number)), lane=f"lane{number}") for number in range(count)]
            await appends.append_all(items)

    uvloop.run(append(3))
    assert redis_client.llen("wpp:dramatiq:send") == 3
    redis_client.flushall()
    uvloop.run(append(MAX_BATCH))
    assert redis_client.llen("wpp:dramatiq:send") == MAX_WAKEUPS


def test_nobody_is_told_that_it_was_kept_when_redis_is_gone(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Everybody in the group hears of it; the next group is none the worse."""

    async def append() -> None:
        with TcpProxy(redis_server.port) as wire:
            async with grouping(redis_client, wire.url) as appends:
                assert (await appends.append(message("one"))).new
                wire.refuse()
                lost = await asyncio.gather(
                    *(appends.append(message("x")) for _ in range(5)), return_exceptions=True
                )
                assert all(isinstance(each, redis.ConnectionError) for each in lost)
                wire.accept()
                assert (await appends.append(message("two"))).new

    uvloop.run(append())


def test_who_went_away_holds_nobody_up(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    async def append() -> None:
        async with grouping(redis_client, redis_server.url) as appends:
            gone = asyncio.create_task(appends.append(message("gone")))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await appends.append(message("one"))).new

    uvloop.run(append())

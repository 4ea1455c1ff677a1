"""Concurrent appends share a round trip, and each gets its own answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
import redis
import uvloop
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared import routing
from shared.errors import IdempotencyConflictError, OverloadedError
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.types import Append
from shared.redis import keys
from shared.redis.client import connect_async
from shared.settings import EngineSettings
from tests.fixtures.tcp_proxy import TcpProxy
from workers.ingress.enqueue import MAX_BATCH, BatchingProducer

ORGANIZATION, INTEGRATION, ONE = uuid4(), uuid4(), uuid4()


def message(text: str, event_id: UUID | None = None) -> Append:
    return routing.route_send(
        ORGANIZATION, INTEGRATION, Message(to="+79990001122", text=text), event_id
    )


@asynccontextmanager
async def open_producer(client: "redis.Redis", url: str) -> AsyncIterator[BatchingProducer]:
    own = connect_async(SecretStr(url))
    try:
        yield BatchingProducer(own, Lanes(client, EngineSettings()))
    finally:
        await own.aclose()


def test_events_keep_their_order_across_batches(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """More than a batch, in the same lane."""

    async def append() -> None:
        async with open_producer(redis_client, redis_server.url) as producer:
            items = [message(str(number)) for number in range(3 * MAX_BATCH)]
            accepted = await asyncio.gather(*(producer.append(item) for item in items))
            assert [each.id for each in accepted] == [item.id for item in items]
            kept = redis_client.lrange(keys.lane(items[0].lane), 0, -1)
            assert kept == [str(item.id).encode() for item in items]

    uvloop.run(append())


def test_each_append_gets_its_own_answer(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """New, known and conflicting events in a batch."""

    async def append() -> None:
        async with open_producer(redis_client, redis_server.url) as producer:
            items = [
                message("one", ONE),
                message("one", ONE),
                message("two", ONE),
                message("three"),
            ]
            first, again, conflict, other = await asyncio.gather(
                *(producer.append(item) for item in items), return_exceptions=True
            )
            assert [getattr(each, "new", None) for each in (first, again, other)] == [
                True,
                False,
                True,
            ]
            assert isinstance(conflict, IdempotencyConflictError)

    uvloop.run(append())


def test_a_full_outbox_refuses_appends(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The error is OverloadedError."""

    async def append() -> None:
        async with open_producer(redis_client, redis_server.url) as producer:
            producer._lanes = Lanes(redis_client, EngineSettings(wpp_outbox_limit=1))  # noqa: SLF001 - as a setting has it
            with pytest.raises(OverloadedError):
                await producer.append_all([message("one"), message("two")])

    uvloop.run(append())


def test_scripts_are_loaded_again_after_a_restart_of_redis(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The append succeeds."""

    async def append() -> None:
        async with open_producer(redis_client, redis_server.url) as producer:
            redis_client.script_flush()
            assert (await producer.append(message("one"))).new

    uvloop.run(append())


def test_wake_ups_of_a_batch_are_limited(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """One per event, up to MAX_WAKEUPS."""

    async def append(count: int) -> None:
        async with open_producer(redis_client, redis_server.url) as producer:
            items = [replace(message(str(number)), lane=f"lane{number}") for number in range(count)]
            await producer.append_all(items)

    uvloop.run(append(3))
    assert redis_client.llen(keys.bell("send")) == 3


def test_an_outage_of_redis_fails_the_whole_batch(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The next batch succeeds."""

    async def append() -> None:
        with TcpProxy(redis_server.port) as wire:
            async with open_producer(redis_client, wire.url) as producer:
                assert (await producer.append(message("one"))).new
                wire.refuse()
                lost = await asyncio.gather(
                    *(producer.append(message("x")) for _ in range(5)), return_exceptions=True
                )
                assert all(isinstance(each, redis.ConnectionError) for each in lost)
                wire.accept()
                assert (await producer.append(message("two"))).new

    uvloop.run(append())


def test_a_cancelled_request_does_not_affect_its_batch(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The other append succeeds."""

    async def append() -> None:
        async with open_producer(redis_client, redis_server.url) as producer:
            gone = asyncio.create_task(producer.append(message("gone")))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await producer.append(message("one"))).new

    uvloop.run(append())

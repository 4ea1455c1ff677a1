"""A sentinel URL leads to the primary, also to the next one when the primary dies."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from shared.redis.client import check_durability, connect, connect_async, is_transient
from shared.redis.replication import check_writable, check_writable_async
from shared.settings import RedisSettings
from tests.fixtures.sentinels import NAME, SentinelRedis
from tests.fixtures.waiting import wait_until

WITHIN_S = 60.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[SentinelRedis]:
    servers = SentinelRedis(tmp_path)
    with servers.run():
        yield servers


def transient(error: redis.RedisError) -> bool:
    """Return False, as an attempt that has to be repeated; any other error ends the test."""
    if not is_transient(error):
        raise error
    time.sleep(0.2)
    return False


def test_both_clients_follow_the_sentinels_when_the_primary_dies(servers: SentinelRedis) -> None:
    """Until there is a new primary, errors are transient; one sentinel may be missing as well."""
    settings = RedisSettings(redis_url=SecretStr(servers.url))

    async def run() -> None:
        async_client = connect_async(settings.redis_url)
        with connect(settings.redis_url) as client:

            async def write() -> bool:
                try:
                    check_writable(client, 1)
                    await check_writable_async(async_client, 1)
                except redis.RedisError as error:
                    return transient(error)
                return True

            assert check_durability(client) == []
            check_writable(client, 2)
            await async_client.set("a", 1)
            servers.sentinels[0].kill()
            servers.servers[0].kill()
            killed = time.monotonic()
            while not await write():
                assert time.monotonic() - killed < WITHIN_S
            assert await async_client.get("a") == b"1"
            assert client.role()[0] == b"master"
        await async_client.aclose()

    asyncio.run(run())


def test_a_demoted_primary_is_left_for_the_new_one(servers: SentinelRedis) -> None:
    """A failover that an operator asks for keeps the connections open."""
    with connect(servers.url) as client:

        def moved() -> bool:
            try:
                check_writable(client, 1)
            except redis.RedisError as error:
                return transient(error)
            return servers.primary() is not servers.servers[0]

        check_writable(client, 2)
        with servers.sentinels[0].connect() as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", NAME)
        wait_until(moved, "a write to the new primary", within_s=WITHIN_S)
        wait_until(lambda: client.role()[0] == b"master", "the new primary", within_s=WITHIN_S)

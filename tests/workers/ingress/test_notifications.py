"""Changes from Redis pub/sub to waiting requests."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import redis
from pydantic import SecretStr

from sandbox.ports import free_port
from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.outbox import Outbox
from shared.redis.client import connect_async
from tests.fixtures.service_keys import store_key
from workers.ingress.notifications import Notifications

SECRET = "k" * 32


def run(redis_server: RedisServer, story: Callable[[Notifications], Awaitable[None]]) -> None:
    async def whole() -> None:
        client = connect_async(SecretStr(redis_server.url))
        notifications = Notifications(client)
        try:
            await story(notifications)
        finally:
            await notifications.aclose()
            await client.aclose()

    asyncio.run(whole())


def announce_change(
    redis_client: redis.Redis, organization_id: UUID, what: str = "session"
) -> None:
    """Announce a change as the recorder does."""
    change = {"organization_id": str(organization_id), "integration_id": str(uuid4()), "what": what}
    Outbox(redis_client).publish_changes([change])


async def wait_for_channels(redis_client: redis.Redis, channels: int) -> None:
    """Wait until so many channels are subscribed to."""
    for _ in range(1000):
        if len(redis_client.pubsub_channels()) == channels:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"there are not {channels} channels: {redis_client.pubsub_channels()}")


def test_a_subscription_receives_changes_of_its_integrations_only(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Not those of another organization, and not those of messages."""
    mine, other = uuid4(), uuid4()

    async def story(notifications: Notifications) -> None:
        async with (
            notifications.subscribe(mine) as one,
            notifications.subscribe(mine) as two,
            notifications.subscribe(other) as third,
        ):
            await wait_for_channels(redis_client, 2)
            announce_change(redis_client, mine, "message")
            announce_change(redis_client, mine)
            assert await one.wait(20)
            assert await two.wait(20)
            assert not await third.wait(0.1)
            assert not await one.wait(0.1)
            await notifications.publish(other, uuid4())
            assert await third.wait(20)

    run(redis_server, story)


def test_the_last_subscription_ends_the_channel(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The next subscription opens it again."""
    organization_id = uuid4()

    async def story(notifications: Notifications) -> None:
        for _ in range(3):
            async with notifications.subscribe(organization_id) as watch:
                await wait_for_channels(redis_client, 1)
                announce_change(redis_client, organization_id)
                assert await watch.wait(20)
            await wait_for_channels(redis_client, 0)

    run(redis_server, story)


def test_a_lost_connection_is_replaced(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Every subscription is notified, since messages were lost; later ones arrive again."""
    organization_id = uuid4()

    async def story(notifications: Notifications) -> None:
        async with notifications.subscribe(organization_id) as watch:
            await wait_for_channels(redis_client, 1)
            redis_client.client_kill_filter(_type="pubsub")
            await watch.wait(20)
            await wait_for_channels(redis_client, 1)
            await watch.wait(0.1)
            announce_change(redis_client, organization_id)
            assert await watch.wait(20)

    run(redis_server, story)


def test_stop_ends_every_wait(redis_server: RedisServer) -> None:
    """At once."""

    async def story(notifications: Notifications) -> None:
        async with notifications.subscribe(uuid4()) as watch:
            waiting = asyncio.create_task(watch.wait(30))
            await asyncio.sleep(0.05)
            notifications.stop()
            assert await asyncio.wait_for(waiting, 1)
            assert watch.closing

    run(redis_server, story)


def test_an_open_stream_does_not_delay_the_stop_of_the_process(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    supabase_world: Supabase,
    database_url: str,
    tmp_path: Path,
) -> None:
    """The stream ends at SIGTERM."""
    del redis_client
    port, organization_id = free_port(), uuid4()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into public.organizations (id, name) values (%s, 'Test')", (organization_id,)
        )
    environment = {
        "REDIS_URL": redis_server.url,
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_KEY_SECRETS": SECRET,
        "WPP_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "workers.ingress", "--port", str(port)]
    bearer = {"Authorization": f"Bearer {store_key(database_url, organization_id)}"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log
        ) as process,
    ):
        try:
            with httpx.Client(
                base_url=environment["WPP_PUBLIC_URL"], headers=bearer, trust_env=False
            ) as client:
                until_ready(client)
                with client.stream("GET", "/v1/integrations/events") as stream:
                    lines = stream.iter_lines()
                    found = next(line for line in lines if line.startswith("data: "))
                    assert json.loads(found.removeprefix("data: ")) == []
                    process.terminate()
                    assert [line for line in lines if line.startswith("data: ")] == []
            assert process.wait(15) == 0, "before `SHUTDOWN_TIMEOUT_S`"
        finally:
            process.kill()


def until_ready(client: httpx.Client) -> None:
    for _ in range(400):
        try:
            if client.get("/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail("the ingress did not start")

"""`/ready` is red while Redis accepts no writes, and says why."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import redis
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.redis import connect_async
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.replicated_redis import ReplicatedRedis
from tests.fixtures.waiting import wait_until
from workers.ingress.readiness import ReadinessCheck


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="module")
def web(
    servers: ReplicatedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("replicated")
    with (
        IngressProcess(servers.url, directory, WPP_REDIS_REPLICAS="1") as ingress,
        httpx.Client(base_url=ingress.url, trust_env=False) as client,
    ):
        yield client


def assert_red(answer: httpx.Response, reason: str) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["code"] == "queue_unavailable"
    assert reason in answer.json()["detail"]


def wait_until_green(web: httpx.Client) -> None:
    wait_until(lambda: web.get("/ready").status_code == 200, "the ingress")


def test_full_memory(servers: ReplicatedRedis, web: httpx.Client) -> None:
    """A PING would be answered."""
    wait_until_green(web)
    with redis.Redis.from_url(servers.primary.url) as client:
        client.config_set("maxmemory", 1)
        assert_red(web.get("/ready"), "Redis has no memory left")
        client.config_set("maxmemory", 0)
    wait_until_green(web)


def test_a_replica_that_does_not_confirm(servers: ReplicatedRedis, web: httpx.Client) -> None:
    """With `WPP_REDIS_REPLICAS` nothing counts without it."""
    wait_until_green(web)
    with servers.paused_replica():
        assert_red(web.get("/ready"), "0 of 1 replicas have confirmed")
    wait_until_green(web)


def test_a_demoted_primary(servers: ReplicatedRedis, web: httpx.Client) -> None:
    """Until the address leads to the new primary, which the next request reaches then."""
    wait_until_green(web)
    servers.fail_over(switch=False)  # else what the process does by itself reaches the new primary
    for _ in range(2):
        assert_red(web.get("/ready"), "Redis is a replica, which accepts no writes")
    servers.switch_address()
    wait_until_green(web)


def test_probes_at_one_time_share_a_check(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """They have no quota, and each check is a durable write; a later probe checks again."""

    def count_writes() -> int:
        return int(redis_client.info("commandstats").get("cmdstat_set", {}).get("calls", 0))

    async def probe() -> None:
        client = connect_async(SecretStr(redis_server.url))
        check = ReadinessCheck(client, replicas=0)
        before = count_writes()
        await asyncio.gather(*(check.run() for _ in range(200)))
        await check.run()
        assert 2 <= count_writes() - before < 20, "other processes write, too"
        await client.aclose()

    asyncio.run(probe())

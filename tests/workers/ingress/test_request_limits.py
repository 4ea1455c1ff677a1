"""Rate limits: of a key, an account and an address, over all ingress processes together."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis
from pydantic import SecretStr

from sandbox.ports import LOCALHOST, free_port
from sandbox.redis import RedisServer
from shared.redis import connect_async, keys
from shared.settings import IngressSettings
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.service_keys import copy_key
from tests.fixtures.waiting import wait_until
from workers.ingress import request_limits
from workers.ingress.request_limits import (
    Bucket,
    Quota,
    QuotaName,
    RequestLimits,
    TooManyRequestsError,
    find_client,
    read_quotas,
)

KEY_QUOTA = 600
FEW = 5
SETTINGS = {
    "WPP_KEY_QUOTA": f"{KEY_QUOTA}/{10 * KEY_QUOTA}",
    "WPP_WEBHOOK_QUOTA": f"{FEW}/{1000 * FEW}",
    "WPP_ADDRESS_QUOTA": f"{FEW}/{1000 * FEW}",
    "WPP_FAILURE_QUOTA": f"{FEW}/{1000 * FEW}",
}
"""Quotas that hardly refill during a test."""
INVALID_PATH = "/v1/messages/no-id"
"""A request with credentials is admitted, and refused afterwards: 422."""


@pytest.fixture(scope="module")
def pair(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[IngressProcess, IngressProcess]]:
    """Return two processes with one Redis; the second trusts no proxy on this machine."""
    trust: list[dict[str, str]] = [{}, {"WPP_TRUSTED_PROXIES": "192.0.2.1"}]
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                IngressProcess(
                    redis_server.url, tmp_path_factory.mktemp("limits"), **SETTINGS, **more
                )
            )
            for more in trust
        )
        yield first, second


def authorize(client: redis.Redis) -> dict[str, str]:
    """Return the credentials of a new organization."""
    return {"Authorization": f"Bearer {copy_key(client, uuid4())}"}


def via_proxy(address: str) -> dict[str, str]:
    """Return the headers of a request that a proxy on this machine passes on."""
    return {"X-Forwarded-For": f"198.51.100.{uuid4().int % 256}, {address}"}


def count_statuses(ingress: IngressProcess, path: str, times: int, **headers: str) -> list[int]:
    return [ingress.http.get(path, headers=headers).status_code for _ in range(times)]


def test_a_quota_holds_over_all_processes(
    pair: tuple[IngressProcess, IngressProcess], redis_client: redis.Redis
) -> None:
    """Two processes accept at most a quarter more than the quota; another key is not affected."""
    greedy, modest = authorize(redis_client), authorize(redis_client)
    answered: list[int] = []  # two threads that count at a time may lose an answer

    def ask(ingress: IngressProcess) -> None:
        answered.extend(count_statuses(ingress, INVALID_PATH, KEY_QUOTA, **greedy))

    asking = [threading.Thread(target=ask, args=(ingress,)) for ingress in pair]
    for thread in asking:
        thread.start()
    others: list[int] = []
    while any(thread.is_alive() for thread in asking) and len(others) < KEY_QUOTA // 2:
        with httpx.Client(base_url=pair[0].url, headers=modest, trust_env=False) as http:
            others.append(http.get(INVALID_PATH).status_code)
    for thread in asking:
        thread.join()
    statuses = Counter(answered)
    assert set(statuses) == {422, 429}
    assert KEY_QUOTA <= statuses[422] <= 1.25 * KEY_QUOTA
    assert set(others) == {422}
    wait_until(
        lambda: int(redis_client.hget(keys.REFUSED_REQUESTS, "key") or 0) == statuses[429],
        "all refused requests to be counted",
    )


def test_a_send_counts_once(
    pair: tuple[IngressProcess, IngressProcess], redis_client: redis.Redis
) -> None:
    """Also one whose body turns out to be no message, which FastAPI answers."""
    bearer = authorize(redis_client)
    left: list[int] = []
    for body in ({"to": "+79990001122", "text": "Hello"}, {"unknown": 1}, {"to": 1}):
        answer = pair[0].http.post("/v1/messages", json=body, headers=bearer)
        left.append(int(answer.headers["RateLimit"].split("r=")[1].partition(";")[0]))
    assert [left[0] - each for each in left] == [0, 1, 2]


def test_the_answers_tell_the_quota(
    pair: tuple[IngressProcess, IngressProcess], redis_client: redis.Redis
) -> None:
    """In the fields of the IETF draft; a refused request is a problem with Retry-After."""
    bearer = authorize(redis_client)
    first, second = (pair[0].http.get(INVALID_PATH, headers=bearer) for _ in range(2))
    policy = f'"key";q={KEY_QUOTA};w={10 * KEY_QUOTA}'
    assert {first.headers["RateLimit-Policy"], second.headers["RateLimit-Policy"]} == {policy}
    assert first.headers["RateLimit"].startswith(f'"key";r={KEY_QUOTA - 1};t=')
    assert second.headers["RateLimit"].startswith(f'"key";r={KEY_QUOTA - 2};t=')
    path = pair[0].webhook_path("77")
    refused = [pair[0].http.post(path, json={"type": "connected"}) for _ in range(FEW + 1)][-1]
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["Retry-After"]) <= 1000
    assert refused.headers["RateLimit"].startswith('"webhook";r=0;t=')
    assert pair[0].http.post(pair[0].webhook_path("78"), json={"type": "x"}).status_code == 200


def test_failed_credentials_are_counted_by_address(
    pair: tuple[IngressProcess, IngressProcess], redis_client: redis.Redis
) -> None:
    """Beyond the quota they get 429; valid keys from there, and other addresses, are answered."""
    here, elsewhere = via_proxy("203.0.113.7"), via_proxy("203.0.113.8")
    wrong = {"Authorization": "Bearer wrong"}
    path = f"/webhooks/wpp/77/{'x' * 43}"
    assert count_statuses(pair[0], INVALID_PATH, 3, **here, **wrong) == [401] * 3
    assert [pair[0].http.post(path, headers=here).status_code for _ in range(3)] == [404, 404, 429]
    assert count_statuses(pair[0], INVALID_PATH, 1, **here) == [429]
    assert count_statuses(pair[0], INVALID_PATH, 1, **here, **authorize(redis_client)) == [422]
    assert count_statuses(pair[0], INVALID_PATH, 1, **elsewhere, **wrong) == [401]


def test_requests_without_credentials_are_counted_by_address(
    pair: tuple[IngressProcess, IngressProcess],
) -> None:
    """Pages and unknown paths; the probes of a load balancer are always answered."""
    here = via_proxy("203.0.113.17")
    paths = [
        "/connect",
        "/openapi.json",
        "/v1/unknown",
        "/unknown",
        "/v1/messages/batch",
        "/connect",
    ]
    statuses = [pair[0].http.get(path, headers=here).status_code for path in paths]
    assert statuses == [200, 200, 404, 404, 405, 429]
    assert count_statuses(pair[0], "/health", 2 * FEW, **here) == [200] * 2 * FEW


def test_only_a_trusted_proxy_names_the_client(
    pair: tuple[IngressProcess, IngressProcess],
) -> None:
    """The header of a client is ignored: all its names count as the same address."""
    statuses = [
        pair[1].http.get("/unknown", headers=via_proxy(f"203.0.113.{number}")).status_code
        for number in range(FEW + 1)
    ]
    assert statuses == [404] * FEW + [429]


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 1), "2001:db8:1:2::/64"),
        (("unknown", 0), "unknown"),
        (("x" * 1000, 0), "x" * 64),
        (None, ""),
    ],
    ids=["v4", "mapped", "v6", "name", "long", "none"],
)
def test_the_address_of_a_client(client: tuple[str, int] | None, address: str) -> None:
    """An IPv6 subscriber has 2^64 addresses, which count as one."""
    assert find_client({"client": client}) == address


# In the event loop of a process

Story = Callable[[RequestLimits], Awaitable[Any]]


def run(url: str, quotas: dict[QuotaName, Quota], story: Story) -> Any:
    async def whole() -> Any:
        client = connect_async(SecretStr(url))
        limits = RequestLimits(client, quotas)
        try:
            return await story(limits)
        finally:
            await limits.aclose()
            await client.aclose()

    return asyncio.run(whole())


async def wait_for(check: Callable[[], bool]) -> None:
    """Wait without blocking the loop, which settles meanwhile."""
    await asyncio.to_thread(wait_until, check)


def count_buckets(client: redis.Redis) -> int:
    return sum(1 for _ in client.scan_iter(keys.request_bucket("key", "test *")))


def take_all(limits: RequestLimits, limit: QuotaName = "key", subject: str = "test a") -> int:
    """Take requests until one is refused; return how many were accepted."""
    for accepted in range(10_000):
        try:
            limits.take(limit, subject)
        except TooManyRequestsError:
            return accepted
    return -1


def test_an_accepted_request_waits_for_nothing(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken reaches Redis later, in one script for all buckets."""
    calls: list[int] = []
    settle = request_limits.SETTLE.run_async

    async def count(client: Any, names: Sequence[str], arguments: Sequence[Any]) -> Any:
        calls.append(len(names))
        return await settle(client, names, arguments)

    async def story(limits: RequestLimits) -> None:
        for number in range(100):
            limits.take("key", f"test {number}")
        assert not calls
        await wait_for(lambda: count_buckets(redis_client) == 100)

    monkeypatch.setattr(request_limits.SETTLE, "run_async", count)
    run(redis_server.url, {"key": Quota(50, 500)}, story)
    assert calls == [101], "the counts of refused requests, and the buckets"


def test_redis_knows_what_was_taken(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """A bucket lives until it is full: its lifetime is the share that is used."""

    async def story(limits: RequestLimits) -> None:
        assert take_all(limits) == 20
        await wait_for(lambda: count_buckets(redis_client) == 1)
        lifetime_ms = redis_client.pttl(keys.request_bucket("key", "test a"))
        assert isinstance(lifetime_ms, int)
        assert 1_900_000 <= lifetime_ms <= 2_000_000
        with pytest.raises(TooManyRequestsError) as refused:
            limits.take("key", "test a")
        assert 0 < refused.value.retry_after_s <= 100

    run(redis_server.url, {"key": Quota(20, 2000)}, story)


def test_a_bucket_refills_evenly() -> None:
    """20 requests in 10 s: one each 0.5 s after the first 20; never more than 20 at once."""
    bucket = Bucket("key", "a", Quota(20, 10))
    for _ in range(20):
        assert bucket.find_wait(100.0) == 0
        bucket.take(100.0)
    assert bucket.read(100.0).remaining == 0
    assert bucket.find_wait(100.0) == pytest.approx(0.5, abs=0.001)
    assert bucket.find_wait(100.5) == 0
    assert bucket.read(105.0).remaining == 10
    assert bucket.read(1000.0).remaining == 20


def test_what_is_held_is_not_given_out_again() -> None:
    """Requests at the same time, of which it is told later that they count."""

    async def story(limits: RequestLimits) -> None:
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(limits.hold("failure", "a"))
            with pytest.raises(TooManyRequestsError) as refused, limits.hold("failure", "a"):
                pass
            assert refused.value.retry_after_s > 0
            with limits.hold("failure", "b"):
                pass
        limits.take("failure", "a")
        with limits.hold("failure", "a"), limits.hold("failure", "a"):
            with pytest.raises(TooManyRequestsError), limits.hold("failure", "a"):
                pass
            assert take_all(limits, "failure", "a") == 2

    run(f"redis://{LOCALHOST}:{free_port()}", {"failure": Quota(3, 3000)}, story)


def test_without_redis_each_process_limits_alone() -> None:
    """No request fails because of Redis."""

    async def story(limits: RequestLimits) -> None:
        assert take_all(limits) == 20
        await asyncio.sleep(3 * request_limits.SETTLE_S)
        assert take_all(limits, subject="b") == 20
        assert take_all(limits) == 0

    run(f"redis://{LOCALHOST}:{free_port()}", {"key": Quota(20, 2000)}, story)


def test_a_quota_of_zero_is_no_limit() -> None:
    """Nothing is counted."""
    limits = RequestLimits(connect_async(SecretStr("redis://x")), {"key": Quota.parse("0")})
    assert [limits.take("key", "a") for _ in range(3)] == [None] * 3


def test_the_defaults_are_generous() -> None:
    """200 requests a second of a key, 500 webhooks a second of an account."""
    quotas = read_quotas(IngressSettings())
    assert quotas["key"] == Quota(6000, 30)
    assert quotas["webhook"].requests / quotas["webhook"].seconds >= 500

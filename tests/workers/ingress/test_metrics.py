"""GET /metrics."""

import asyncio
import time
from uuid import uuid4

import httpx
import pytest
import redis
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.applications import Starlette

from shared import routing
from shared.events import Message, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence
from shared.outbox import Outbox
from shared.outcomes import SetAside
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.two_redis import TwoRedis
from workers.ingress import metrics

ONE, OTHER = uuid4(), uuid4()
TOKEN = "t" * 16


@pytest.fixture
def busy(redis_client: redis.Redis) -> redis.Redis:
    """Return a Redis with three messages of two tenants, one in flight, and unrecognized events."""
    lanes = Lanes(redis_client, EngineSettings())
    for organization_id in (ONE, ONE, OTHER):
        lanes.append(
            routing.route_send(organization_id, uuid4(), Message(to="+79990001122", text="Hello"))
        )
    assert lanes.claim("send", ClaimSequence())
    redis_client.hincrby(keys.UNRECOGNIZED_EVENTS, "poll.created", 2)
    redis_client.hincrby(keys.BREAKER_CHANGES, "account opened", 3)
    redis_client.hincrby(keys.LOST_EVENT_COUNTS, "send", 4)
    redis_client.sadd(keys.RATE_LIMITED, str(uuid4()))
    redis_client.set(keys.LAST_SWEEP, int(time.time() * 1000) - 90_000)
    outbox = Outbox(redis_client)
    outbox.report_blocked('42703: column "mood" does not exist')
    locked = SetAside(owner=str(ONE), code="55P03", why="no", retry_at=utc_now(), waiting=7)
    outbox.report_set_aside([locked])
    return redis_client


def ask(client: redis.Redis, **headers: str) -> httpx.Response:
    async def get() -> httpx.Response:
        app = Starlette(routes=metrics.build_routes(SecretStr(TOKEN), client))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://ingress"
        ) as ingress:
            return await ingress.get("/metrics", headers=headers)

    return asyncio.run(get())


def test_metrics_of_a_busy_system(busy: redis.Redis) -> None:
    """Backlog, work in flight, outbox, unrecognized events, clock and Redis."""
    registry = CollectorRegistry()
    registry.register(metrics.PipelineCollector(busy))
    value = registry.get_sample_value
    assert value("wpp_events_waiting", {"kind": "send"}) == 3
    assert value("wpp_lost_events_total", {"kind": "send"}) == 4
    assert (value("wpp_bytes_waiting", {"kind": "send"}) or 0) > 3 * 100
    assert value("wpp_bytes_waiting", {"kind": "webhook"}) == 0
    assert value("wpp_lost_events_total", {"kind": "media"}) == 0
    assert value("wpp_events_waiting", {"kind": "webhook"}) == 0
    assert value("wpp_events_in_flight", {"kind": "send"}) == 1
    assert value("wpp_rate_limited_integrations") == 1
    labels = {"scope": "account", "change": "opened"}
    assert value("wpp_circuit_breaker_changes_total", labels) == 3
    assert value("wpp_tenants_waiting") == 2
    assert value("wpp_outbox_outcomes") == 3
    assert 0 <= (value("wpp_outbox_age_seconds") or 0) < 60
    assert value("wpp_outbox_blocked") == 1
    assert value("wpp_organizations_set_aside") == 1
    assert value("wpp_outcomes_set_aside") == 7
    assert value("wpp_unrecognized_events_total", {"type": "poll.created"}) == 2
    assert 90 <= (value("wpp_clock_age_seconds") or 0) < 150
    assert (value("wpp_redis_bytes") or 0) > 0


def test_metrics_of_a_new_system(redis_client: redis.Redis) -> None:
    """Counts are 0; the age of the clock is absent."""
    registry = CollectorRegistry()
    registry.register(metrics.PipelineCollector(redis_client))
    assert registry.get_sample_value("wpp_events_waiting", {"kind": "send"}) == 0
    assert registry.get_sample_value("wpp_outbox_age_seconds") == 0
    assert registry.get_sample_value("wpp_clock_age_seconds") is None


def test_the_token_gives_access(busy: redis.Redis) -> None:
    """The metrics name no tenant."""
    found = ask(busy, Authorization=f"Bearer {TOKEN}")
    assert found.status_code == 200
    assert 'wpp_events_waiting{kind="send"} 3.0' in found.text
    assert str(ONE) not in found.text


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}]
)
def test_other_credentials_are_refused(busy: redis.Redis, headers: dict[str, str]) -> None:
    """The response is 401."""
    refused = ask(busy, **headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")


def test_without_a_token_there_is_no_route(redis_client: redis.Redis) -> None:
    """WPP_METRICS_TOKEN enables it."""
    assert metrics.build_routes(None, redis_client) == []


def test_metrics_of_shards_have_their_name(
    two_redis: TwoRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that does not answer is told, and the metrics of the rest are there."""
    two_redis.other.hset(keys.waiting("send"), str(ONE), 4)
    parts = {name: metrics.PipelineCollector(each) for name, each in two_redis.by_name.items()}
    registry = CollectorRegistry()
    registry.register(metrics.ShardCollector(parts))
    value = registry.get_sample_value
    assert value("wpp_events_waiting", {"kind": "send", "shard": "a"}) == 0
    assert value("wpp_events_waiting", {"kind": "send", "shard": "b"}) == 4

    def fail(*_: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(parts["b"], "collect", fail)
    assert [value("wpp_shard_answers", {"shard": each}) for each in "ab"] == [1, 0]
    assert value("wpp_events_waiting", {"kind": "send", "shard": "a"}) == 0

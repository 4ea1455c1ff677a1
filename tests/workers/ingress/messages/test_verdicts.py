"""`Prefer: wait=N`: an answer that is held until sending has ended, or until N is over."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import httpx
import pytest
import redis
import redis.asyncio

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.events import Message
from shared.lanes.records import Record
from shared.lanes.types import Settled
from shared.producer import Producer
from shared.route_cache import IntegrationRoute, RouteCache
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.tenants import Tenant
from workers.ingress.deps import AppState
from workers.ingress.messages.verdicts import wait_for_record

HELLO = {"to": "79990001122", "text": "Hello"}


def post(tenant: Tenant, prefer: str, key: str | None = None) -> httpx.Response:
    headers = {"Prefer": prefer, **({"Idempotency-Key": key} if key else {})}
    return tenant.http.post("/v1/messages", json=HELLO, headers=headers, timeout=60)


@pytest.mark.parametrize(
    ("state", "fields", "expected"),
    [
        ("sent", {"task_id": "t1"}, {"status": "sent", "task_id": "t1"}),
        (
            "failed",
            {"reason": "not on WhatsApp", "code": "refused"},
            {"status": "failed", "reason": "not on WhatsApp", "code": "refused"},
        ),
        ("unknown", {"reason": "lost"}, {"status": "unknown", "reason": "lost"}),
    ],
    ids=["sent", "failed", "unknown"],
)
def test_an_answer_is_held_until_sending_has_ended(
    tenant: Tenant, state: str, fields: Mapping[str, str], expected: dict[str, str]
) -> None:
    """200 with the final status, long before the time is over."""
    number = tenant.add_integration("42").rsplit("/", 1)[-1]
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(post, tenant, "respond-async, wait=30")
        wait_until(lambda: tenant.count_waiting("send") == 1, "the message to wait")
        settled = Settled(state, fields=fields)  # type: ignore[arg-type]
        message_id = tenant.settle_next("send", settled)
        answer = held.result()
    found = answer.json()
    assert answer.status_code == 200, answer.text
    assert found["id"] == str(message_id)
    assert {name: found[name] for name in expected} == expected
    assert found["integration_id"] == number
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.headers["Location"] == f"/v1/messages/{message_id}"


def test_a_message_that_waits_longer_is_accepted(tenant: Tenant) -> None:
    """202 after N; repeated once it was sent, 200 at once."""
    tenant.add_integration("42")
    answer = post(tenant, "wait=1", key="k")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=1"
    tenant.settle_next("send", Settled("sent", fields={"task_id": "t1"}))
    again = post(tenant, "wait=1", key="k")
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("prefer", ["", "wait=0", "wait=x", "return=minimal"])
def test_nothing_is_held_without_a_time(tenant: Tenant, prefer: str) -> None:
    tenant.add_integration("42")
    answer = post(tenant, prefer)
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_held_answers_are_bounded(
    tenant: Tenant, redis_server: RedisServer, supabase_world: Supabase, tmp_path: Path
) -> None:
    """Beyond `WPP_STREAM_LIMIT_PER_ORGANIZATION` the answer is 202 at once, and not held."""
    tenant.add_integration("42")
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_STREAM_LIMIT_PER_ORGANIZATION": "1",
    }
    with (
        IngressProcess(redis_server.url, tmp_path, **settings) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        process.http.headers["Authorization"] = tenant.http.headers["Authorization"]
        small = Tenant(tenant.id, process.http, tenant.database, tenant.client)
        held = pool.submit(post, small, "wait=30")
        wait_until(lambda: tenant.count_waiting("send") == 1, "the first message to wait")
        second = post(small, "wait=30")
        assert second.status_code == 202
        assert "Preference-Applied" not in second.headers
        tenant.settle_next("send", Settled("sent", fields={"task_id": "t1"}))
        assert held.result().status_code == 200


def test_a_process_that_stops_holds_no_answer(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """The message stays accepted; the client asks again."""
    route = IntegrationRoute(
        id=uuid4(),
        organization_id=uuid4(),
        name="Shop",
        account="42",
        is_primary=True,
        is_enabled=True,
    )
    RouteCache(redis_client, database=None).store_routes([route])
    message = Message(to="+79990001122", text="Hello")
    accepted = Producer(redis_client).send(route.organization_id, message)

    async def wait() -> Record | None:
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            stopping = SimpleNamespace(closing=True)
            state = cast("AppState", SimpleNamespace(redis=client, notifications=stopping))
            return await wait_for_record(accepted.id, state, 60)

    record = asyncio.run(asyncio.wait_for(wait(), 30))
    assert record
    assert record.state == "queued"

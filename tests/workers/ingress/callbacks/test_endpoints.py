"""/v1/callbacks over HTTP: create, change, replace the secret, test, log, replay; tenants apart."""

import base64
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.callbacks import PostAttempt
from shared.events import CallbackEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence
from shared.settings import EngineSettings
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant

PATH = "/v1/callbacks"
URL = "https://crm.example.com/whatsapp"


def create(tenant: Tenant, **given: Any) -> dict[str, Any]:
    answer = tenant.post(PATH, {"url": URL, **given})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"{PATH}/{found['id']}"
    return found


def next_post(tenant: Tenant) -> CallbackEvent:
    """Return the next post that waits for a worker."""
    claim = Lanes(tenant.client, EngineSettings()).claim("callback", ClaimSequence())
    assert claim, "no post waits"
    return CallbackEvent.model_validate_json(claim.body)


def record(tenant: Tenant, callback_id: str, number: int | None) -> int:
    """Record an attempt as a worker does; return its id."""
    attempt = PostAttempt.model_validate(
        {
            "organization_id": tenant.id,
            "callback_id": callback_id,
            "event_id": number,
            "webhook_id": f"evt_{number}",
            "type": "number.connected",
            "attempt": 1,
            "outcome": "failed",
            "status": 500,
            "duration_ms": 12,
            "error": "answered 500",
        }
    )
    tenant.database.callbacks.record(attempt, timedelta(days=3))
    page = tenant.http.get(f"{PATH}/{callback_id}/deliveries").json()
    return int(page["items"][0]["id"])


def test_the_secret_is_shown_once(tenant: Tenant) -> None:
    found = create(tenant, name="CRM", types=["message.received", "number.*"])
    secret = found["secret"]
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    expected = {**found, "secret": None}
    assert tenant.http.get(f"{PATH}/{found['id']}").json() == expected
    assert tenant.http.get(PATH).json() == [expected]
    assert found["secret_hint"] == f"…{secret[-4:]}"


def test_a_repeated_request_creates_a_callback_once(tenant: Tenant) -> None:
    """A client that lost the answer gets the secret of the callback that it has made."""
    first, second = (tenant.post(PATH, {"url": URL}, key="once") for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(tenant.http.get(PATH).json()) == 1
    assert tenant.post(PATH, {"url": URL + "/2"}, key="once").status_code == 422


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.7:8443/",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/",
        "https://db.internal/",
        "https://user:password@crm.example.com/",
        "ftp://crm.example.com/",
        "crm.example.com",
    ],
)
def test_an_address_that_is_not_public_is_refused(tenant: Tenant, url: str) -> None:
    created = create(tenant)
    for answer in (
        tenant.post(PATH, {"url": url}),
        tenant.http.patch(f"{PATH}/{created['id']}", json={"url": url}),
    ):
        assert answer.status_code == 422
        assert "url" in answer.json()["detail"].lower()
        assert "password@" not in answer.text
    assert len(tenant.http.get(PATH).json()) == 1


def test_an_organization_has_so_many_callbacks(tenant: Tenant) -> None:
    for _ in range(20):
        create(tenant)
    answer = tenant.post(PATH, {"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_callbacks")


def test_a_callback_is_changed(tenant: Tenant, database_url: str) -> None:
    """To enable it ends a pause that failures caused."""
    path = f"{PATH}/{create(tenant)['id']}"
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("update wpp_callbacks set is_enabled = false, disabled_reason = 'gone'")
    assert tenant.http.get(path).json()["disabled_reason"] == "gone"
    change = {"url": URL + "/2", "types": ["message.*"], "name": "New", "is_enabled": True}
    changed = tenant.http.patch(path, json=change).json()
    assert changed.items() >= change.items()
    assert changed["disabled_reason"] is None
    assert tenant.http.patch(path, json={}).json() == changed
    assert tenant.http.patch(path, json={"secret": "x"}).status_code == 422


def test_a_replaced_secret_signs_for_another_day(tenant: Tenant) -> None:
    created = create(tenant)
    rotated = tenant.post(f"{PATH}/{created['id']}/secret").json()
    assert rotated["secret"] != created["secret"]
    [row] = tenant.database.callbacks.list_for(tenant.id)
    signing = [each.get_secret_value() for each in row.valid_secrets(utc_now())]
    assert signing == [rotated["secret"], created["secret"]]


@pytest.mark.parametrize("effect", ["secret", "test", "replay"])
def test_a_repeated_request_takes_effect_once(tenant: Tenant, effect: str) -> None:
    """A client that lost the answer asks again with its key; another request with it is refused."""
    path = f"{PATH}/{create(tenant)['id']}"
    body = {"since": "2026-01-01T00:00:00Z"} if effect == "replay" else None
    first, second = (tenant.post(f"{path}/{effect}", body, key="once") for _ in range(2))
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    [row] = tenant.database.callbacks.list_for(tenant.id)
    assert (row.generation, tenant.count_waiting("callback")) == (
        1 if effect == "replay" else 0,
        1 if effect == "test" else 0,
    )
    other = f"{PATH}/{create(tenant)['id']}"
    assert tenant.post(f"{other}/{effect}", body, key="once").status_code == 422


def test_a_test_is_posted(tenant: Tenant) -> None:
    created = create(tenant)
    answer = tenant.post(f"{PATH}/{created['id']}/test")
    assert answer.status_code == 202
    post = next_post(tenant)
    assert (post.webhook_id, post.type) == (answer.json()["webhook_id"], "callback.test")
    assert post.number is None


def test_deliveries_are_listed_and_replayed(tenant: Tenant) -> None:
    """A replay has the id of its event; a test, or what is stored no more, cannot be replayed."""
    created = create(tenant)
    path = f"{PATH}/{created['id']}/deliveries"
    tenant.add_integration("42")
    number = tenant.database.feed.find_end(tenant.id).last
    ids = [record(tenant, created["id"], each) for each in (number, None, number + 99)]
    first = tenant.http.get(path, params={"limit": 2}).json()
    second = tenant.http.get(path, params={"limit": 2, "before": first["next"]}).json()
    assert [each["id"] for each in first["items"] + second["items"]] == ids[::-1]
    assert second["next"] is None
    assert (
        second["items"][0].items()
        >= {
            "event_id": f"evt_{number}",
            "outcome": "failed",
            "status": 500,
            "duration_ms": 12,
        }.items()
    )
    first, second = (tenant.post(f"{path}/{ids[0]}/replay", key="once") for _ in range(2))
    assert first.json() == second.json()
    assert tenant.count_waiting("callback") == 1
    tenant.client.flushall()
    for _ in range(2):
        assert tenant.post(f"{path}/{ids[0]}/replay").json() == {"webhook_id": f"evt_{number}"}
        assert next_post(tenant).number == number
        tenant.client.flushall()
    for delivery in (ids[1], ids[2], 10**9):
        assert tenant.post(f"{path}/{delivery}/replay").status_code == 404


def test_what_happened_since_a_time_is_posted_again(tenant: Tenant) -> None:
    created = create(tenant)
    tenant.add_integration("42")
    [row] = tenant.database.callbacks.list_for(tenant.id)
    tenant.database.callbacks.advance(row, row.position + 100)
    answer = tenant.post(f"{PATH}/{created['id']}/replay", {"since": "2026-01-01T00:00:00Z"})
    assert answer.status_code == 202
    [after] = tenant.database.callbacks.list_for(tenant.id)
    assert after.generation == 1
    page = tenant.database.feed.read(tenant.id, after.position, 10)
    assert [event.type for event in page.events] == ["number.connected"]


def test_a_deleted_callback_is_gone(tenant: Tenant) -> None:
    path = f"{PATH}/{create(tenant)['id']}"
    assert tenant.http.delete(path).status_code == 204
    assert tenant.http.get(path).status_code == 404
    assert tenant.http.delete(path).status_code == 404


def test_another_organization_sees_and_touches_nothing(
    tenant: Tenant,
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
    redis_client: redis.Redis,
) -> None:
    created = create(tenant)
    delivery = record(tenant, created["id"], 1)
    path = f"{PATH}/{created['id']}"
    with Tenant.new(ingress_with_supabase, supabase_world, redis_client) as other:
        answers: list[httpx.Response] = [
            other.http.get(path),
            other.http.patch(path, json={"name": "mine"}),
            other.http.delete(path),
            other.post(f"{path}/secret"),
            other.post(f"{path}/test"),
            other.http.get(f"{path}/deliveries"),
            other.post(f"{path}/deliveries/{delivery}/replay"),
            other.post(f"{path}/replay", {"since": "2026-01-01T00:00:00Z"}),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert other.http.get(PATH).json() == []
    assert tenant.http.get(path).json()["name"] == ""
    assert tenant.http.get(f"{PATH}/{uuid4()}").status_code == 404

"""/v1/pacing over HTTP: settings of an organization and its numbers, on real Supabase and Redis."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.members import Member
from tests.workers.ingress.tenants import Tenant

ACCOUNT = "0000000000071"


@pytest.fixture
def other(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase, redis_client: redis.Redis
) -> Iterator[Tenant]:
    with Tenant.new(ingress_with_supabase, supabase_world, redis_client) as tenant:
        yield tenant


def get(tenant: Tenant, path: str = "") -> Any:
    answer = tenant.http.get(f"/v1/pacing{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def patch(tenant: Tenant, body: Any, path: str = "", status: int = 200) -> Any:
    answer = tenant.http.patch(f"/v1/pacing{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def route_of(client: redis.Redis, integration_id: str) -> IntegrationRoute:
    stored: Any = client.get(keys.route(integration_id))
    return IntegrationRoute.model_validate_json(stored)


def test_a_number_has_the_settings_of_its_organization_below_its_own(tenant: Tenant) -> None:
    """`null` takes a setting back; the routes, by which workers send, follow at once."""
    number = tenant.add_integration(ACCOUNT).rsplit("/", 1)[-1]
    assert get(tenant)["settings"]["per_minute"] == 0
    changed = patch(tenant, {"per_minute": 20, "warm_up": [20, 40]})
    assert changed["own"]["per_minute"] == 20
    assert changed["numbers"][0]["settings"]["per_minute"] == 20
    own = patch(tenant, {"per_minute": 5}, f"/{number}")
    assert (own["settings"]["per_minute"], own["own"]["per_minute"]) == (5, 5)
    assert route_of(tenant.client, number).pacing.per_minute == 5
    back = patch(tenant, {"per_minute": None}, f"/{number}")
    assert (back["settings"]["per_minute"], back["own"]["per_minute"]) == (20, None)
    assert get(tenant, f"/{number}") == back


def test_a_new_number_shows_its_warm_up(tenant: Tenant) -> None:
    number = tenant.add_integration(ACCOUNT).rsplit("/", 1)[-1]
    assert get(tenant, f"/{number}")["warm_up"] is None
    patch(tenant, {"warm_up": [20, 40]})
    warm_up = {"day": 1, "budget": 20, "left": 20, "waiting": 0}
    assert get(tenant, f"/{number}")["warm_up"] == warm_up
    tenant.client.hset(keys.WARM_UP_LEFT, number, "-1")
    assert get(tenant, f"/{number}")["warm_up"] == {**warm_up, "left": 0}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"per_minute": -1}, "per_minute"),
        ({"burst": 0}, "burst"),
        ({"jitter": 2}, "jitter"),
        ({"warm_up": [20, -1]}, "warm_up.1"),
        ({"per_hour": 1}, "per_hour"),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused_by_its_name(
    tenant: Tenant, body: dict[str, Any], field: str
) -> None:
    problem = patch(tenant, body, status=422)
    assert [each["field"] for each in problem["errors"]] == [field]
    assert get(tenant)["own"] == dict.fromkeys(get(tenant)["own"])


def test_another_organization_s_number_is_not_found(tenant: Tenant, other: Tenant) -> None:
    """Neither read nor changed, as one that does not exist."""
    number = other.add_integration(ACCOUNT).rsplit("/", 1)[-1]
    for path in (f"/{number}", f"/{uuid4()}"):
        assert tenant.http.get(f"/v1/pacing{path}").status_code == 404
        patch(tenant, {"burst": 1}, path, status=404)
    patch(tenant, {"burst": 1})
    assert get(other, f"/{number}")["settings"]["burst"] == 5


def test_a_user_reads_the_pacing_and_cannot_change_it(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase, database_url: str
) -> None:
    """It protects the number from those who write with it."""
    member = Member.new(supabase_world, database_url)
    headers = {"Authorization": f"Bearer {member.session['access_token']}"}
    url = f"{ingress_with_supabase.url}/v1/pacing"
    with httpx.Client(headers=headers, trust_env=False) as http:
        assert http.get(url).status_code == 200
        refused = http.patch(url, json={"per_minute": 0})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "service key" in refused.json()["detail"]


def test_a_change_gives_waiting_messages_another_turn(tenant: Tenant) -> None:
    """Their lane is due soon, instead of in hours, and the list of turns is empty."""
    number = tenant.add_integration(ACCOUNT).rsplit("/", 1)[-1]
    sent = tenant.post("/v1/messages", {"to": "+79990001122", "text": "Hello"})
    message = UUID(sent.json()["id"])
    lane = f"send:{number}:79990001122"
    far = 5_000_000
    tenant.client.hset(keys.LANE_CLOCK, mapping={"lanes": 1000, "wall": 1000})
    tenant.client.zadd(keys.delayed("send"), {lane: far})
    tenant.client.zadd(keys.pace_turns(number), {str(message): far})
    tenant.client.zadd(keys.PACED, {number: far})
    assert get(tenant, f"/{number}")["waiting"] == 1
    after = patch(tenant, {"per_minute": 60})
    assert after["numbers"][0]["waiting"] == 0
    assert tenant.client.zscore(keys.delayed("send"), lane) == 1000 + 11_000


def test_a_message_that_waits_says_until_when(tenant: Tenant) -> None:
    tenant.add_integration(ACCOUNT)
    sent = tenant.post("/v1/messages", {"to": "+79990001122", "text": "Hello"}).json()
    path = f"/v1/messages/{sent['id']}"
    assert tenant.http.get(path).json()["earliest_at"] is None
    fields: Any = {"earliest": "1795000000000", "reason": "waits its turn"}
    tenant.client.hset(keys.event(sent["id"]), mapping=fields)
    found = tenant.http.get(path).json()
    assert (found["reason"], found["earliest_at"]) == ("waits its turn", "2026-11-18T11:06:40Z")

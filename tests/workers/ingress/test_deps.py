"""Credentials: service keys, and Supabase sessions of members."""

import inspect
from collections.abc import Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from sandbox.supabase.project import Supabase
from shared.service_keys import make_key
from tests.conftest import MakeClient
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.service_keys import copy_key
from tests.workers.ingress.tenants import Tenant
from workers.ingress.app import ROUTERS


def ask(ingress: IngressProcess, authorization: str) -> httpx.Response:
    return ingress.http.get("/v1/integrations", headers={"Authorization": authorization})


@pytest.fixture
def session(make_client: MakeClient) -> str:
    """Return the session of a user who has just signed up."""
    signed_up = (
        make_client()
        .auth.sign_up({"email": "anna@example.com", "password": "correct horse"})
        .session
    )
    assert signed_up
    return signed_up.access_token


def user_of(token: str, ingress: IngressProcess, world: Supabase) -> str:
    answer = ingress.http.get(
        f"{world.url.rstrip('/')}/auth/v1/user",
        headers={"Authorization": f"Bearer {token}", "apikey": world.anon_key},
    )
    return str(answer.json()["id"])


def test_a_member_acts_for_the_organization_of_their_profile(
    ingress_with_supabase: IngressProcess, tenant: Tenant, session: str, supabase_world: Supabase
) -> None:
    """The organization comes from Supabase, not from the request."""
    path = tenant.add_integration("42")
    with psycopg.connect(supabase_world.database_url) as connection:
        connection.execute(
            "insert into profiles (id, organization_id) values (%s, %s)",
            (user_of(session, ingress_with_supabase, supabase_world), tenant.id),
        )
    answer = ask(ingress_with_supabase, f"bearer  {session}")
    assert [path.endswith(each["integration_id"]) for each in answer.json()] == [True]


def test_a_user_without_an_organization_is_refused(
    ingress_with_supabase: IngressProcess, session: str
) -> None:
    """So is a session with a wrong signature."""
    for bearer in (session, session[:-6] + "AAAAAA"):
        assert ask(ingress_with_supabase, f"Bearer {bearer}").status_code == 401


def test_keys_of_supabase_are_not_credentials(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase
) -> None:
    """Neither the anonymous key nor the service role's key stands for an organization."""
    for key in (supabase_world.anon_key, supabase_world.service_role_key):
        assert ask(ingress_with_supabase, f"Bearer {key}").status_code == 401


def test_a_service_key_in_use_is_known_without_supabase(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Supabase is down here: a route that needs only Redis works, an unknown key is no 401."""
    good = copy_key(redis_client, uuid4())
    assert ask(ingress, f"Bearer {good}").json()["code"] == "database_unavailable"
    for bad in (good[:-1], good + "A", good.replace("wpk_", "wpq_"), good.upper()):
        assert ask(ingress, f"Bearer {bad}").status_code == 401
    assert ask(ingress, f"Bearer {make_key()}").status_code == 503


def list_dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for each in dependant.dependencies:
        yield each
        yield from list_dependencies(each)


def test_no_dependency_runs_in_a_thread() -> None:
    """FastAPI calls a plain function, and a class, in a thread of its pool."""
    found = {
        each.call
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for each in list_dependencies(route.dependant)
    }
    assert len(found) > 5
    for call in found:
        called = call if inspect.isroutine(call) else type(call).__call__
        assert inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called), call

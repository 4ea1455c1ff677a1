"""Credentials: service keys, and Supabase sessions of members."""

from uuid import uuid4

import httpx
import psycopg
import pytest

from sandbox.supabase.project import Supabase
from shared import signed_keys
from tests.conftest import MakeClient
from tests.fixtures.ingress_process import KEY_SECRET, IngressProcess
from tests.workers.ingress.tenants import Tenant


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


def test_a_service_key_is_verified_without_supabase(ingress: IngressProcess) -> None:
    """Supabase is down here: 503 comes after the key was accepted."""
    good = signed_keys.make_service_key(uuid4(), [KEY_SECRET.encode()])
    assert ask(ingress, f"Bearer {good}").status_code == 503
    for bad in (good[:-1], good + "A", good.replace("wpp_", "wpq_"), good.upper()):
        assert ask(ingress, f"Bearer {bad}").status_code == 401

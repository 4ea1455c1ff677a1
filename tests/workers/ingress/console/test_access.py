"""Who may enter the console, from where, and for how long."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from fastapi.routing import APIRoute

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from tests.fixtures.ingress_process import IngressProcess, read_response
from tests.fixtures.service_keys import store_operator_key
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.console.conftest import SignedIn, sign_in
from tests.workers.ingress.members import Member
from tests.workers.ingress.tenants import Tenant
from workers.ingress.console.access import OPEN, SIGN_IN
from workers.ingress.console.routes import ROUTERS

ROUTES = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
    if (method, route.path) != ("POST", SIGN_IN)
)
CHANGE = "/console/sign-out"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_is_read_before_it_is_known_who_asks(
    ingress: IngressProcess, method: str, path: str
) -> None:
    """Every route of the console, with its head alone: the answer awaits no body."""
    with ingress.connect() as connection:
        connection.settimeout(5)
        head = f"{method} {path.replace('{', '').replace('}', '')} HTTP/1.1\r\nHost: x\r\n"
        head += "Origin: http://x\r\nCookie: wpp_console=W10.x\r\n"
        connection.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
        assert read_response(connection).startswith(b"HTTP/1.1 401 ")


def test_a_page_sends_strangers_to_sign_in(ingress: IngressProcess) -> None:
    """The link is relative; the pages and their files are the same for all, with strict headers."""
    answer = ingress.http.get("/console")
    assert (answer.status_code, answer.headers["Location"]) == (303, "console/sign-in")
    for path in OPEN:
        found = ingress.http.get(path)
        assert found.status_code == 200
        policy = found.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    assert ingress.http.get("/console/access.py").status_code == 401


def test_an_operator_signs_in_with_a_key(operator: SignedIn) -> None:
    """The cookie is out of the reach of scripts and of other sites."""
    assert operator.http.get("/console").status_code == 200
    assert operator.http.get("/console/session").json()["name"] == "Olga"
    (cookie,) = operator.http.cookies.jar
    assert cookie.path == "/console"
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    assert not cookie.secure


def test_the_cookie_is_secure_where_the_page_is(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase
) -> None:
    """As the trusted proxy says."""
    answer = ingress_with_supabase.http.post(
        "/console/session",
        json={"key": store_operator_key(supabase_world.database_url)},
        headers={"Origin": ingress_with_supabase.url, "X-Forwarded-Proto": "https"},
    )
    assert "; Secure" in answer.headers["Set-Cookie"]


def test_keys_of_services_and_users_do_not_open_the_console(
    ingress_with_supabase: IngressProcess, tenant: Tenant, supabase_world: Supabase
) -> None:
    """Nor does what a user may write about themselves; an operator's key opens no API."""
    member = Member.new(supabase_world, supabase_world.database_url)
    with psycopg.connect(supabase_world.database_url) as connection:
        connection.execute(
            'update auth.users set raw_user_meta_data = \'{"wpp_role": "operator"}\' where id = %s',
            (member.id,),
        )
    service_key = tenant.http.headers["Authorization"].removeprefix("Bearer ")
    for credentials in (
        {"key": service_key},
        {"token": service_key},
        {"token": member.session["access_token"]},
        {"key": "wpo_" + 43 * "x"},
    ):
        with sign_in(ingress_with_supabase, **credentials) as http:
            assert http.get("/console/data/overview").status_code == 401
    key = store_operator_key(supabase_world.database_url)
    bearer = {"Authorization": f"Bearer {key}"}
    assert ingress_with_supabase.http.get("/v1/integrations", headers=bearer).status_code == 401
    for token in (service_key, member.session["access_token"], key):
        headers = {"Authorization": f"Bearer {token}"}
        answer = ingress_with_supabase.http.get("/console/data/overview", headers=headers)
        assert answer.status_code == 401


@pytest.fixture
def member(supabase_world: Supabase, database_url: str) -> Member:
    """Return a user who has the role of an operator."""
    member = Member.new(supabase_world, database_url)
    set_role(database_url, member, '{"wpp_role": "operator"}')
    return member


def set_role(database_url: str, member: Member, metadata: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update auth.users set raw_app_meta_data = %s where id = %s", (metadata, member.id)
        )


def test_a_banned_user_cannot_sign_in(
    ingress_with_supabase: IngressProcess, member: Member
) -> None:
    """And who is signed in already is out: neither the role nor the session helps."""
    with psycopg.connect(member.database_url) as connection:
        connection.execute(
            "update auth.users set banned_until = now() + interval '1 hour' where id = %s",
            (member.id,),
        )
    with sign_in(ingress_with_supabase, token=member.session["access_token"]) as http:
        assert not http.cookies
        assert http.get("/console/data/overview").status_code == 401


@pytest.fixture
def capped(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    supabase_world: Supabase,
    database_url: str,
    tmp_path: Path,
) -> Iterator[IngressProcess]:
    """Return an ingress that lets an address fail three times an hour, as `WPP_FAILURE_QUOTA`."""
    del database_url, redis_client  # asked for because they empty tables and Redis
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_FAILURE_QUOTA": "3/3600",
    }
    with IngressProcess(redis_server.url, tmp_path, **settings) as ingress:
        yield ingress


def test_an_address_may_fail_so_often(capped: IngressProcess, supabase_world: Supabase) -> None:
    """Then even the right key is refused from there, and guesses cost no look-up; not elsewhere."""
    key = store_operator_key(supabase_world.database_url)

    def attempt(credentials: dict[str, str], address: str) -> httpx.Response:
        headers = {"Origin": capped.url, "X-Forwarded-For": address}
        return capped.http.post("/console/session", json=credentials, headers=headers)

    guess = {"key": "wpo_" + 43 * "x"}
    answers = [attempt(guess, "203.0.113.7") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 60
    refused = attempt({"key": key}, "203.0.113.7")
    assert (refused.status_code, "Set-Cookie" in refused.headers) == (429, False)
    assert attempt({"token": "x.y.z"}, "203.0.113.7").status_code == 429
    assert attempt({"key": key}, "203.0.113.8").status_code == 204


def test_signing_in_rightly_uses_up_no_attempts(
    capped: IngressProcess, supabase_world: Supabase
) -> None:
    key = store_operator_key(supabase_world.database_url)
    for _ in range(6):
        with sign_in(capped, key=key) as http:
            assert http.get("/console/session").status_code == 200


def test_a_user_with_the_role_signs_in(
    ingress_with_supabase: IngressProcess, member: Member
) -> None:
    with sign_in(ingress_with_supabase, token=member.session["access_token"]) as http:
        assert http.get("/console/data/overview").status_code == 200


def test_a_change_has_to_come_from_the_page(
    ingress_with_supabase: IngressProcess, operator: SignedIn
) -> None:
    """Of this server, with the token of this session; signing in has to come from here as well."""
    foreign = {**operator.headers, "Origin": "http://evil.example"}
    none = {"X-CSRF-Token": operator.csrf_token}
    other = {**operator.headers, "X-CSRF-Token": "x" * 43}
    tokenless = {"Origin": operator.headers["Origin"]}
    for headers in (foreign, none, other, tokenless):
        answer = operator.http.post(CHANGE, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = ingress_with_supabase.http.post(
            "/console/session", json={"key": operator.key}, headers=origin
        )
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)
    assert operator.http.get("/console/session").status_code == 200


def test_a_session_ends_by_signing_out(
    ingress_with_supabase: IngressProcess, operator: SignedIn
) -> None:
    """Whoever has copied its cookie has nothing."""
    copied = {"Cookie": f"wpp_console={operator.http.cookies['wpp_console']}"}
    http = ingress_with_supabase.http
    assert http.get("/console/session", headers=copied).status_code == 200
    assert operator.http.post(CHANGE, headers=operator.headers).status_code == 204
    assert not operator.http.cookies
    assert http.get("/console/session", headers=copied).status_code == 401


def read_audit(ingress: IngressProcess, operation: str, caller: str) -> list[dict[str, Any]]:
    """Return what an operator's lines of the audit log say about an operation."""
    wanted = ("audit.effect", operation, caller)
    return [
        line
        for line in ingress.read_log()
        if (line["event"], line.get("operation"), line.get("caller")) == wanted
    ]


def test_who_did_what_is_written_down(
    ingress_with_supabase: IngressProcess, operator: SignedIn, supabase_world: Supabase
) -> None:
    """Signing in, and each change. The key itself is in no line."""
    with psycopg.connect(supabase_world.database_url) as connection:
        row = connection.execute("select id from public.wpp_operator_keys").fetchone()
    assert row
    operator.http.post(CHANGE, headers=operator.headers)
    for operation in ("sign_in", CHANGE):
        find = partial(read_audit, ingress_with_supabase, operation, f"operator key {row[0]}")
        (line,) = wait_until(find, f"a line about {operation}")
        assert line["address"] == "127.0.0.1"
    assert operator.key not in ingress_with_supabase.log.read_text()

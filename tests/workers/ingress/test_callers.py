"""The caller that a bearer token stands for."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
import redis

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.database.models import ServiceKey
from shared.errors import DatabaseUnavailableError
from shared.service_keys import hash_service_key, make_key
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.clocks import ManualClock
from tests.workers.ingress.tenants import Tenant
from workers.ingress.auth import SessionCache
from workers.ingress.callers import Callers, ForbiddenError, OrganizationMissingError
from workers.ingress.lookups import LookupCache

TTL_S = 30.0
ONE, TWO, ALL = (f"wpk_{43 * letter}" for letter in "abc")


class FakeSupabase:
    """Knows one user; `away` makes it fail."""

    def __init__(self) -> None:
        self.organization_id: UUID | None = uuid4()
        self.away = False
        self.keys: dict[str, ServiceKey] = {}

    def is_in_use(self, token: str) -> bool:
        return token in self.keys

    def find_key(self, token: str) -> ServiceKey | None:
        return self.keys.get(token)

    def find_organization(self, _token: str) -> UUID | None:
        if self.away:
            msg = "Supabase: does not answer"
            raise DatabaseUnavailableError(msg)
        return self.organization_id


def make_token(valid_s: float = 3600) -> str:
    return jwt.encode({"sub": "user", "exp": time.time() + valid_s}, "k" * 32, "HS256")


def run(story: Any) -> None:
    async def whole() -> None:
        supabase = FakeSupabase()
        cache = SessionCache(supabase.find_organization, TTL_S, negative_ttl_s=TTL_S)
        service_keys = LookupCache(supabase.find_key, TTL_S)
        await story(Callers(cache, service_keys, supabase.is_in_use), supabase)

    asyncio.run(whole())


def test_a_key_that_was_found_lately_is_known(clock: ManualClock) -> None:
    """With the rules of `find`; a key that was never found, or not lately, is not known."""
    organization_id = uuid4()

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        supabase.keys[ONE] = ServiceKey(
            id=uuid4(), name="crm", organization_ids=[organization_id], actions=["messages:read"]
        )
        assert callers.find_known(ONE) is None
        found = await callers.find(ONE)
        del supabase.keys[ONE]
        assert callers.find_known(ONE) == found
        assert callers.find_known(ONE, str(organization_id).upper()) == found
        with pytest.raises(ForbiddenError):
            callers.find_known(ONE, str(uuid4()))
        assert callers.find_known(TWO) is None
        assert callers.find_known(make_token()) is None
        clock.pass_time(TTL_S)
        assert callers.find_known(ONE) is None

    run(story)


def test_a_service_key_does_not_expire() -> None:
    """One that is in use is genuine before Supabase is asked."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        assert not await callers.is_genuine(ONE)
        supabase.keys[ONE] = ServiceKey(
            id=uuid4(), name="crm", organization_ids=[uuid4()], actions=["*"]
        )
        assert await callers.is_genuine(ONE)
        caller = await callers.find(ONE)
        assert caller
        assert caller.lifetime_s == float("inf")
        assert await callers.is_valid(caller)
        assert ONE not in repr(caller)

    run(story)


def test_a_key_that_is_derived_from_a_secret_is_refused() -> None:
    """Earlier versions made such keys: wpp_<organization>_<signature>."""

    async def story(callers: Callers, _supabase: FakeSupabase) -> None:
        key = f"wpp_{uuid4().hex}_{43 * 's'}"
        assert not await callers.is_genuine(key)
        assert await callers.find(key) is None

    run(story)


def test_a_session_ends_when_supabase_says_so(clock: ManualClock) -> None:
    """Not while Supabase is away, unless the token expires."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        token = make_token()
        assert not await callers.is_genuine(token)
        caller = await callers.find(token)
        assert caller
        assert await callers.is_genuine(token)
        assert 3500 < caller.lifetime_s <= 3600
        clock.pass_time(TTL_S)
        supabase.away = True
        assert await callers.is_valid(caller)
        supabase.away = False
        supabase.organization_id = uuid4()
        assert not await callers.is_valid(caller), "the user has another organization"
        clock.pass_time(TTL_S)
        supabase.organization_id = None
        assert not await callers.is_valid(caller)
        assert await callers.find(make_token(-1)) is None

    run(story)


def test_a_stored_key_acts_for_the_organization_that_a_request_names() -> None:
    """It is valid for its organizations and actions only."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        mine, also_mine = sorted([uuid4(), uuid4()])
        for token, organizations in ((ONE, [mine]), (TWO, [mine, also_mine])):
            supabase.keys[token] = ServiceKey(
                id=uuid4(),
                name="crm",
                organization_ids=organizations,
                actions=["messages:read"],
            )
        caller = await callers.find(ONE)
        assert caller
        assert caller.organization_id == mine
        assert caller.subject == f"key {supabase.keys[ONE].id}"
        caller.require("messages:read")
        with pytest.raises(ForbiddenError, match="does not allow messages:write"):
            caller.require("messages:write")
        with pytest.raises(OrganizationMissingError):
            await callers.find(TWO)
        other = await callers.find(TWO, str(also_mine).upper())
        assert other
        assert other.organization_id == also_mine
        for token in (ONE, TWO):
            with pytest.raises(ForbiddenError, match="not valid for organization"):
                await callers.find(token, str(uuid4()))
        assert await callers.find(f"wpk_{43 * 'u'}") is None

    run(story)


def test_a_key_may_allow_everything() -> None:
    """Also actions that it did not know when it was made."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        supabase.keys[ALL] = ServiceKey(
            id=uuid4(), name="crm", organization_ids=[uuid4()], actions=["*"]
        )
        caller = await callers.find(ALL)
        assert caller
        caller.require("files:write")

    run(story)


def test_a_revoked_key_ends_a_stream(clock: ManualClock) -> None:
    """As soon as it is looked up again."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        supabase.keys[ONE] = ServiceKey(
            id=uuid4(), name="crm", organization_ids=[uuid4()], actions=["integrations:read"]
        )
        caller = await callers.find(ONE)
        assert caller
        assert await callers.is_valid(caller)
        assert await callers.is_genuine(ONE)
        supabase.keys.clear()
        clock.pass_time(TTL_S)
        assert not await callers.is_valid(caller)

    run(story)


def test_a_request_may_name_no_other_organization() -> None:
    """A session is of the organization in the user's profile."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        with pytest.raises(ForbiddenError):
            await callers.find(make_token(), str(uuid4()))
        assert await callers.find(make_token(), str(supabase.organization_id))

    run(story)


# In a process


@pytest.fixture(scope="module")
def attentive_ingress(
    redis_server: RedisServer, supabase_world: Supabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    """Return an ingress that looks at credentials again after a second."""
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_SESSION_CHECK_S": "1",
    }
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("attentive"), **settings
    ) as ingress:
        yield ingress


def test_a_stored_key_opens_the_api_until_it_is_revoked(
    attentive_ingress: IngressProcess,
    supabase_world: Supabase,
    redis_client: redis.Redis,
    database_url: str,
) -> None:
    """For its organizations and actions; several keys at once; no process is restarted."""
    del database_url  # asked for because it empties the tables
    with (
        Tenant.new(attentive_ingress, supabase_world, redis_client) as one,
        Tenant.new(attentive_ingress, supabase_world, redis_client) as other,
        Tenant.new(attentive_ingress, supabase_world, redis_client) as third,
    ):
        numbers = {
            tenant.id: tenant.add_integration(f"{n}") for n, tenant in enumerate([one, other])
        }
        reader, writer = make_key(), make_key()
        stored = one.database.service_keys
        reader_id = stored.create(
            "reader", hash_service_key(reader), [one.id, other.id], ["integrations:read"]
        )
        stored.create("writer", hash_service_key(writer), [one.id], ["integrations:write"])

        def ask(method: str, path: str, key: str, organization: object = "") -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}", "Wpp-Organization": str(organization)}
            body = {"name": "Shop"} if method == "PATCH" else None
            return attentive_ingress.http.request(method, path, headers=headers, json=body)

        for tenant in (one, other):
            listed = ask("GET", "/v1/integrations", reader, tenant.id)
            assert [f"/v1/integrations/{each['integration_id']}" for each in listed.json()] == [
                numbers[tenant.id]
            ]
        mine, theirs = numbers[one.id], numbers[other.id]
        asked = [
            ask("GET", "/v1/integrations", reader),
            ask("GET", "/v1/integrations", reader, third.id),
            ask("PATCH", mine, reader, one.id),
            ask("GET", mine, writer),
            ask("PATCH", mine, writer),
            ask("PATCH", theirs, writer),
            ask("PATCH", theirs, writer, other.id),
            ask("GET", "/v1/integrations", make_key()),
        ]
        assert [each.status_code for each in asked] == [400, 403, 403, 403, 200, 404, 403, 401]
        assert asked[0].json()["code"] == "organization_missing"
        assert asked[1].json()["code"] == "forbidden"
        stored.revoke(reader_id)
        wait_until(
            lambda: ask("GET", "/v1/integrations", reader, one.id).status_code == 401,
            "the key to be refused",
        )
        assert ask("PATCH", mine, writer).status_code == 200
        assert reader not in attentive_ingress.log.read_text()

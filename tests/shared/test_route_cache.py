"""The route cache returns an integration's route from the nearest layer that has it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event as Flag
from time import monotonic
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import pytest
import redis

from shared.database import Database
from shared.database.models import NumberPacing
from shared.errors import DatabaseUnavailableError
from shared.number_states import NumberStates
from shared.pacing import PacingChange
from shared.redis import keys
from shared.route_cache import LOCAL_TTL_S, REDIS_TTL_S, IntegrationRoute, RouteCache
from workers.clock.route_refresh import copy_routes, refresh_routes

ORGANIZATION = uuid4()
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def make_route(**changed: object) -> IntegrationRoute:
    route = IntegrationRoute(
        id=uuid4(),
        organization_id=ORGANIZATION,
        name="Shop",
        account="42",
        is_primary=True,
        is_enabled=True,
    )
    return route.model_copy(update=changed)


@dataclass
class FakeDatabase:
    """The integrations in Supabase, and the number of queries."""

    routes: list[IntegrationRoute]
    resend: set[UUID] = field(default_factory=set)
    numbers: dict[UUID, NumberPacing] = field(default_factory=dict)
    queries: int = 0
    unavailable: bool = False

    def _query(self) -> list[IntegrationRoute]:
        self.queries += 1
        if self.unavailable:
            msg = "no answer"
            raise DatabaseUnavailableError(msg)
        return self.routes

    @property
    def database(self) -> Database:
        return cast("Database", SimpleNamespace(integrations=self, policies=self, pacing=self))

    def get(self, integration_id: UUID) -> IntegrationRoute | None:
        return next((each for each in self._query() if each.id == integration_id), None)

    def get_by_account(self, account: str) -> IntegrationRoute | None:
        return next((each for each in self._query() if each.account == account), None)

    def list_for(self, organization_id: UUID) -> list[IntegrationRoute]:
        return [each for each in self._query() if each.organization_id == organization_id]

    def of_numbers(self, _organization_id: UUID | None = None) -> dict[UUID, NumberPacing]:
        self._query()
        self.queries -= 1
        return self.numbers

    def resends_unknown(self, organization_id: UUID) -> bool:
        return organization_id in self.resend


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_cache(
    client: redis.Redis, database: FakeDatabase | None, clock: Callable[[], float] = monotonic
) -> RouteCache:
    return RouteCache(client, database.database if database else None, clock)


def test_supabase_is_queried_once_for_all_processes(redis_client: redis.Redis) -> None:
    """A second process finds the route in Redis, and the first process in its own memory."""
    route = make_route()
    database = FakeDatabase([route])
    first = make_cache(redis_client, database)
    second = make_cache(redis_client, database)
    assert first.find_route(route.id) == route
    assert first.find_route(route.id) == second.find_route(route.id) == route
    assert second.find_account_route("42") == second.find_primary_route(ORGANIZATION) == route
    assert database.queries == 1


def test_a_cache_without_a_database_reads_redis(redis_client: redis.Redis) -> None:
    """A route is found by id, by account and as its organization's primary; else None."""
    primary = make_route()
    secondary = make_route(account="43", is_primary=False)
    make_cache(redis_client, FakeDatabase([])).store_routes([primary, secondary])
    cache = make_cache(redis_client, None)
    assert cache.find_route(secondary.id) == cache.find_account_route("43") == secondary
    assert cache.find_primary_route(ORGANIZATION) == primary
    assert cache.find_route(uuid4()) is None
    assert cache.find_primary_route(uuid4()) is None
    assert cache.find_account_route("44") is None


def test_refresh_is_immediate_locally_and_bounded_elsewhere(redis_client: redis.Redis) -> None:
    """Another process uses the old route until `LOCAL_TTL_S` has passed."""
    route = make_route()
    clock = FakeClock()
    database = FakeDatabase([route])
    refreshed = make_cache(redis_client, database)
    remote = make_cache(redis_client, database, clock)
    assert refreshed.find_route(route.id) == remote.find_route(route.id) == route
    disabled = route.model_copy(update={"is_enabled": False})
    database.routes = [disabled]
    refreshed.refresh(route.id, ORGANIZATION)
    assert refreshed.find_route(route.id) == disabled
    assert remote.find_route(route.id) == route
    clock.now = LOCAL_TTL_S
    assert remote.find_route(route.id) == disabled


def test_a_removed_primary_is_replaced_by_the_next(redis_client: redis.Redis) -> None:
    """The removed integration has no route, and the promoted integration is the primary."""
    removed = make_route()
    promoted = make_route(account="43", is_primary=False)
    database = FakeDatabase([removed, promoted])
    cache = make_cache(redis_client, database)
    assert cache.find_primary_route(ORGANIZATION) == removed
    promoted = promoted.model_copy(update={"is_primary": True})
    database.routes = [promoted]
    cache.refresh(removed.id, ORGANIZATION)
    assert cache.find_primary_route(ORGANIZATION) == promoted
    assert cache.find_route(removed.id) is None


def test_a_route_includes_the_resend_policy(redis_client: redis.Redis) -> None:
    """The organization's policy for messages of unknown effect is stored with the route."""
    route = make_route()
    database = FakeDatabase([route], resend={ORGANIZATION})
    found = make_cache(redis_client, database).find_route(route.id)
    assert found
    assert found.resends_unknown
    assert make_cache(redis_client, None).find_route(route.id) == found


def test_a_route_includes_the_pacing_of_its_number(redis_client: redis.Redis) -> None:
    """In every process; what a newer version, or a person, wrote wrongly is left out."""
    route = make_route()
    numbers = {
        route.id: NumberPacing(
            integration_id=route.id,
            settings={"per_minute": 20, "burst": -1, "of_a_later_version": True},
            warm_up_from=START,
        )
    }
    found = make_cache(redis_client, FakeDatabase([route], numbers=numbers)).find_route(route.id)
    assert found
    assert (found.pacing, found.warm_up_from) == (PacingChange(per_minute=20), START)
    assert make_cache(redis_client, None).find_route(route.id) == found


def test_an_account_that_moved_leads_to_its_new_integration(redis_client: redis.Redis) -> None:
    """The stored id of an account counts only while that integration uses the account."""
    old = make_route()
    new = make_route(is_primary=False)
    assert make_cache(redis_client, FakeDatabase([old])).find_account_route("42") == old
    moved = old.model_copy(update={"account": "43"})
    cache = make_cache(redis_client, FakeDatabase([new, moved]))
    cache.store_routes([moved])
    assert cache.find_account_route("42") == new


def test_known_routes_outlive_an_outage_of_supabase(redis_client: redis.Redis) -> None:
    """They are used for days; the clock, not a short lifetime, deletes what is gone."""
    route = make_route()
    make_cache(redis_client, FakeDatabase([])).store_routes([route])
    names = [keys.route(route.id), keys.account_route("42"), keys.primary_route(ORGANIZATION)]
    assert all(86_400 < redis_client.ttl(name) <= REDIS_TTL_S for name in names)
    away = make_cache(redis_client, FakeDatabase([], unavailable=True))
    assert away.find_primary_route(ORGANIZATION) == away.find_account_route("42") == route


def test_the_clock_deletes_the_route_of_a_deleted_integration(redis_client: redis.Redis) -> None:
    """It may have been deleted directly in Supabase; one that is newer than the list stays."""
    gone = make_route()
    kept = make_route(account="43", is_primary=False)
    newer = make_route(account="44", is_primary=False)
    database = FakeDatabase([gone, kept, newer])
    cache = make_cache(redis_client, None)
    cache.store_routes(database.routes)
    database.routes = [kept, newer]
    listed = SimpleNamespace(
        get=database.get, iterate=lambda: [route for route in database.routes if route != newer]
    )
    policies = SimpleNamespace(resending_organizations=set)
    pacing = SimpleNamespace(of_numbers=dict)
    fake = cast("Database", SimpleNamespace(integrations=listed, policies=policies, pacing=pacing))
    copy_routes(cache, fake)
    assert cache.find_route(gone.id) is None
    assert cache.find_account_route("42") is None
    assert cache.find_primary_route(ORGANIZATION) is None
    assert (cache.find_route(kept.id), cache.find_route(newer.id)) == (kept, newer)
    database.unavailable = True
    database.routes = []
    with pytest.raises(DatabaseUnavailableError):
        copy_routes(cache, fake)
    assert make_cache(redis_client, None).find_route(newer.id) == newer


def test_pauses_that_wait_are_told_with_each_refresh(redis_client: redis.Redis) -> None:
    told = []
    stopping = Flag()
    stopping.set()
    integrations = SimpleNamespace(iterate=list, tell_pauses=lambda: told.append(1))
    policies = SimpleNamespace(resending_organizations=set)
    pacing = SimpleNamespace(of_numbers=dict)
    fake = SimpleNamespace(integrations=integrations, policies=policies, pacing=pacing)
    cache = make_cache(redis_client, None)
    refresh_routes(
        cache, cast("Database", fake), stopping, NumberStates(redis_client, cache.name_account)
    )
    assert told == [1]


def test_a_disconnected_integration_has_no_route(redis_client: redis.Redis) -> None:
    """At once, although Supabase is away and its row cannot be removed yet."""
    route = make_route()
    make_cache(redis_client, None).store_routes([route])
    redis_client.set(keys.removed(route.id), 1)
    away = make_cache(redis_client, FakeDatabase([], unavailable=True))
    assert away.find_route(route.id) is None


def test_an_outage_of_supabase_is_raised(redis_client: redis.Redis) -> None:
    """An unanswered query is different from an integration that does not exist."""
    with pytest.raises(DatabaseUnavailableError):
        make_cache(redis_client, FakeDatabase([], unavailable=True)).find_route(uuid4())


def test_an_integration_without_an_account_has_no_route(redis_client: redis.Redis) -> None:
    """It is being connected, and nothing can be sent through it."""
    route = make_route(account="")
    assert make_cache(redis_client, FakeDatabase([route])).find_route(route.id) is None


def test_routes_are_found_while_redis_is_full(redis_client: redis.Redis) -> None:
    """They come from Supabase and stay in the memory of this process."""
    route = make_route()
    database = FakeDatabase([route])
    redis_client.config_set("maxmemory", 1)
    try:
        cache = make_cache(redis_client, database)
        assert cache.find_route(route.id) == route
        assert cache.find_account_route(route.account) == route
        assert cache.find_route(route.id) == route
    finally:
        redis_client.config_set("maxmemory", 0)
    assert database.queries == 2

"""The directory: whose a number is, from the nearest layer that knows."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import pytest
import redis

from shared.database import Database
from shared.errors import DatabaseUnavailableError
from shared.route_cache import LOCAL_TTL_S, REDIS_TTL_S, IntegrationRoute, RouteCache

ORGANIZATION = uuid4()


def a_route(**changed: object) -> IntegrationRoute:
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
class Numbers:
    """What Supabase has, and how often it was asked."""

    routes: list[IntegrationRoute]
    resend: set[UUID] = field(default_factory=set)
    asked: int = 0
    away: bool = False

    def _ask(self) -> list[IntegrationRoute]:
        self.asked += 1
        if self.away:
            msg = "no answer"
            raise DatabaseUnavailableError(msg)
        return self.routes

    @property
    def database(self) -> Database:
        return cast("Database", SimpleNamespace(integrations=self, policies=self))

    def get(self, integration_id: UUID, /) -> IntegrationRoute | None:
        return next((each for each in self._ask() if each.id == integration_id), None)

    def get_by_account(self, account: str, /) -> IntegrationRoute | None:
        return next((each for each in self._ask() if each.account == account), None)

    def list_for(self, organization_id: UUID, /) -> list[IntegrationRoute]:
        return [each for each in self._ask() if each.organization_id == organization_id]

    def resends_unknown(self, organization_id: UUID, /) -> bool:
        return organization_id in self.resend


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_supabase_is_asked_once_for_all_processes(redis_client: redis.Redis) -> None:
    """What one process has read, the next finds in Redis, and the same one in its own memory."""
    route = a_route()
    numbers = Numbers([route])
    first, second = (
        RouteCache(redis_client, numbers.database),
        RouteCache(redis_client, numbers.database),
    )
    assert first.find(route.id) == first.find(route.id) == second.find(route.id) == route
    assert second.of_account("42") == second.primary(ORGANIZATION) == route
    assert numbers.asked == 1


def test_redis_alone_is_enough_once_it_was_filled(redis_client: redis.Redis) -> None:
    """Whoever has no Supabase finds a number by its id, its account, and as its organization's primary."""
    primary, other = a_route(), a_route(account="43", is_primary=False)
    RouteCache(redis_client, Numbers([]).database).remember([primary, other])
    bare = RouteCache(redis_client, source=None)
    assert bare.find(other.id) == bare.of_account("43") == other
    assert bare.primary(ORGANIZATION) == primary
    assert bare.find(uuid4()) is bare.primary(uuid4()) is bare.of_account("44") is None


def test_a_change_is_seen_here_at_once_and_elsewhere_soon(redis_client: redis.Redis) -> None:
    """A number that was switched off sends on elsewhere for a few seconds at most."""
    route, clock = a_route(), Clock()
    numbers = Numbers([route])
    here, elsewhere = (
        RouteCache(redis_client, numbers.database),
        RouteCache(redis_client, numbers.database, clock=clock),
    )
    assert here.find(route.id) == elsewhere.find(route.id) == route
    off = route.model_copy(update={"is_enabled": False})
    numbers.routes = [off]
    here.refresh(route.id, ORGANIZATION)
    assert here.find(route.id) == off
    assert elsewhere.find(route.id) == route
    clock.now = LOCAL_TTL_S
    assert elsewhere.find(route.id) == off


def test_a_removed_number_gives_way_to_the_next_primary(redis_client: redis.Redis) -> None:
    """Nothing is sent from a number that is gone, nor from none while there is another."""
    gone, next_one = a_route(), a_route(account="43", is_primary=False)
    numbers = Numbers([gone, next_one])
    directory = RouteCache(redis_client, numbers.database)
    assert directory.primary(ORGANIZATION) == gone
    numbers.routes = [promoted := next_one.model_copy(update={"is_primary": True})]
    directory.refresh(gone.id, ORGANIZATION)
    assert directory.primary(ORGANIZATION) == promoted
    assert directory.find(gone.id) is None


def test_the_policy_travels_with_the_route(redis_client: redis.Redis) -> None:
    """Whether unknown messages are sent again is known wherever the route is."""
    route = a_route()
    found = RouteCache(redis_client, Numbers([route], resend={ORGANIZATION}).database).find(
        route.id
    )
    assert found
    assert found.resends_unknown
    assert RouteCache(redis_client, source=None).find(route.id) == found


def test_an_account_that_moved_to_another_number_is_that_one_s(redis_client: redis.Redis) -> None:
    """What Redis remembers of an account counts only while its number still has it."""
    old, new = a_route(), a_route(is_primary=False)
    directory = RouteCache(redis_client, Numbers([old]).database)
    assert directory.of_account("42") == old
    there = RouteCache(
        redis_client, Numbers([new, moved := old.model_copy(update={"account": "43"})]).database
    )
    there.remember([moved])
    assert there.of_account("42") == new


def test_redis_forgets_what_nobody_refreshes(redis_client: redis.Redis) -> None:
    """A number that somebody deleted in Supabase itself sends on for some minutes at most."""
    RouteCache(redis_client, Numbers([]).database).remember([a_route()])
    assert {0 < redis_client.ttl(key) <= REDIS_TTL_S for key in redis_client.keys("*")} == {True}
    assert REDIS_TTL_S <= 300


def test_an_outage_of_supabase_is_no_absence(redis_client: redis.Redis) -> None:
    """What cannot be asked for raises; it is not taken for a number that does not exist."""
    with pytest.raises(DatabaseUnavailableError):
        RouteCache(redis_client, Numbers([], away=True).database).find(uuid4())


def test_a_number_that_has_no_account_yet_cannot_be_sent_from(redis_client: redis.Redis) -> None:
    """A half-made integration is none."""
    half = a_route(account="")
    assert RouteCache(redis_client, Numbers([half]).database).find(half.id) is None


def test_a_full_redis_keeps_nobody_from_knowing(redis_client: redis.Redis) -> None:
    """Supabase is asked, and what it says is known here for a while."""
    route = a_route()
    numbers = Numbers([route])
    redis_client.config_set("maxmemory", 1)
    try:
        directory = RouteCache(redis_client, numbers.database)
        assert directory.find(route.id) == route
        assert directory.of_account(route.account) == route
        assert directory.find(route.id) == route
    finally:
        redis_client.config_set("maxmemory", 0)
    assert numbers.asked == 2

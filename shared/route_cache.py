"""Route cache: integration → organization and platform account, without a query to Supabase.

Two layers: this process (seconds) and Redis. The clock refreshes Redis each minute and deletes what
is gone from Supabase. While Supabase is away, what is known stays in use. Supabase is asked when
both layers miss.
"""

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import redis
from pydantic import BaseModel, ConfigDict, field_validator

from shared.errors import DatabaseError
from shared.pacing import PacingChange
from shared.phones import DEFAULT_REGION
from shared.redis import keys

if TYPE_CHECKING:  # the producer uses this module in services that have no Supabase client
    from shared.database import Database
    from shared.database.models import NumberPacing

LOCAL_TTL_S = 10.0
"""After an integration was disabled through the API, workers may use its route for this long. The
API and the producer look at Redis for each message."""
REDIS_TTL_S = 7 * 86_400
"""How long routes are used while no clock can refresh them. A clock that reaches Supabase deletes
the route of an integration that was deleted there within a minute."""


class IntegrationRoute(BaseModel):
    """The part of an integration that sending through it needs."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    id: UUID
    organization_id: UUID
    name: str
    account: str
    is_primary: bool
    is_enabled: bool
    region: str = DEFAULT_REGION
    resends_unknown: bool = False
    pacing: PacingChange = PacingChange()
    """What differs from the deployment's pacing."""
    warm_up_from: datetime | None = None
    """When its warm-up began; None: it has none."""

    @classmethod
    def from_integration(
        cls,
        integration: Any,
        *,
        resends_unknown: bool = False,
        pacing: "NumberPacing | None" = None,
    ) -> Self:
        """Return the route of an integration (`database.Integration`, which has more fields)."""
        route = cls.model_validate(integration)
        added: dict[str, Any] = {"resends_unknown": resends_unknown}
        if pacing:
            added |= {
                "pacing": PacingChange.read(pacing.settings),
                "warm_up_from": pacing.warm_up_from,
            }
        return route.model_copy(update=added)

    @classmethod
    @lru_cache(maxsize=4096)
    def parse(cls, stored: bytes) -> Self:
        """Return a route as Redis has it: requests read the same one over and over."""
        return cls.model_validate_json(stored)

    @field_validator("pacing", mode="before")
    @classmethod
    def _read_pacing(cls, value: object) -> object:
        return PacingChange.read(value) if isinstance(value, dict) else value

    @property
    def named(self) -> dict[str, str]:
        """The fields of a log line that name this number."""
        return {"organization_id": str(self.organization_id), "integration_id": str(self.id)}


class RouteCache:
    def __init__(
        self,
        client: "redis.Redis",
        database: "Database | None",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a `database` the cache contains only what further processes put into Redis."""
        self._client = client
        self._database = database
        self._clock = clock
        self._local: dict[UUID, tuple[float, IntegrationRoute]] = {}

    def find_local_route(self, integration_id: UUID) -> IntegrationRoute | None:
        """Return a route from the memory of this process, without I/O."""
        expires_s, route = self._local.get(integration_id, (0.0, None))
        return route if self._clock() < expires_s else None

    def find_route(self, integration_id: UUID) -> IntegrationRoute | None:
        """Return the route of an integration, or None when it does not exist or is disconnected.

        Without a database, None also means that Redis does not contain the route.

        Raises:
            DatabaseUnavailableError: Redis does not contain it, and Supabase does not answer.
        """
        return self.find_local_route(integration_id) or self.read_route(integration_id)

    def read_route(self, integration_id: UUID) -> IntegrationRoute | None:
        """Return the present route of an integration, which this process may remember differently.

        Raises as `find_route`.
        """
        stored, removed = self._client.mget(
            keys.route(integration_id), keys.removed(integration_id)
        )
        if removed:
            return None
        route = (
            IntegrationRoute.model_validate_json(stored)
            if stored
            else self._load_route(integration_id)
        )
        if route:
            self._local[integration_id] = (self._clock() + LOCAL_TTL_S, route)
        return route

    def find_primary_route(self, organization_id: UUID) -> IntegrationRoute | None:
        """Return the route of the organization's primary integration; raises as `find_route`."""
        stored: Any = self._client.get(keys.primary_route(organization_id))
        if stored and (route := self.find_route(UUID(stored.decode()))):
            return route
        integrations = (
            self._database.integrations.list_for(organization_id) if self._database else []
        )
        usable = [each for each in integrations if each.account]
        fallback = usable[0] if usable else None
        return self._store_integration(next((each for each in usable if each.is_primary), fallback))

    def find_account_route(self, account: str) -> IntegrationRoute | None:
        """Return the route of the integration that uses `account`; raises as `find_route`."""
        stored: Any = self._client.get(keys.account_route(account))
        route = self.find_route(UUID(stored.decode())) if stored else None
        if route and route.account == account:  # the integration may use another account by now
            return route
        return self._store_integration(
            self._database.integrations.get_by_account(account) if self._database else None
        )

    def name_account(self, account: str) -> dict[str, str]:
        """Return the fields of a log line that name the number of an account; none if unknown."""
        with suppress(DatabaseError):
            if route := self.find_account_route(account):
                return route.named
        return {}

    def load_organization(self, organization_id: UUID) -> list[IntegrationRoute]:
        """Copy the routes of an organization from Supabase into Redis, and return them.

        Raises:
            DatabaseUnavailableError: Supabase does not answer.
        """
        if self._database is None:
            return []
        resends = self._database.policies.resends_unknown(organization_id)
        pacing = self._database.pacing.of_numbers(organization_id)
        routes = [
            IntegrationRoute.from_integration(
                integration, resends_unknown=resends, pacing=pacing.get(integration.id)
            )
            for integration in self._database.integrations.list_for(organization_id)
            if integration.account
        ]
        with suppress(redis.OutOfMemoryError):  # accepted messages must go out: they free memory
            self.store_routes(routes)
        return routes

    def store_routes(self, routes: Iterable[IntegrationRoute], *, all_known: bool = True) -> None:
        """Put routes into Redis: by id, by account, and as the primary of their organization.

        Unless `all_known`, an organization may have more than these: they are not put into the set
        of its routes, so that the set is complete or absent.
        """
        pipe = self._client.pipeline(transaction=False)
        for route in routes:
            if all_known:
                pipe.sadd(keys.organization_routes(route.organization_id), str(route.id))
                pipe.expire(keys.organization_routes(route.organization_id), REDIS_TTL_S)
            pipe.sadd(keys.ROUTES, str(route.id))
            pipe.set(keys.route(route.id), route.model_dump_json(), ex=REDIS_TTL_S)
            pipe.set(keys.account_route(route.account), str(route.id), ex=REDIS_TTL_S)
            if route.is_primary:
                primary_key = keys.primary_route(route.organization_id)
                pipe.set(primary_key, str(route.id), ex=REDIS_TTL_S)
        pipe.execute()

    def prune_routes(
        self, existing: Collection[UUID], still_exists: Callable[[UUID], bool]
    ) -> list[UUID]:
        """Delete from Redis the routes that are not `existing`, and return their ids.

        `still_exists` decides about each: an integration may be newer than the list.
        """
        stored: Any = self._client.smembers(keys.ROUTES)
        gone = [
            integration_id
            for integration_id in {UUID(member.decode()) for member in stored} - set(existing)
            if not still_exists(integration_id)
        ]
        for integration_id in gone:
            self.delete_route(integration_id)
        return gone

    def delete_route(self, integration_id: UUID) -> bool:
        """Delete a route from Redis; return whether it was there.

        Further processes use it for `LOCAL_TTL_S` at most.
        """
        stored: Any = self._client.get(keys.route(integration_id))
        self._local.pop(integration_id, None)
        names = [keys.route(integration_id)]
        if stored:
            route = IntegrationRoute.model_validate_json(stored)
            pointers = (
                keys.account_route(route.account),
                keys.primary_route(route.organization_id),
            )
            names += [
                name for name in pointers if self._client.get(name) == str(integration_id).encode()
            ]
            self._client.srem(keys.organization_routes(route.organization_id), str(integration_id))
        deleted: Any = self._client.delete(*names)
        self._client.srem(keys.ROUTES, str(integration_id))
        return bool(deleted)

    def refresh(self, integration_id: UUID, organization_id: UUID) -> None:
        """Reload an organization's routes because `integration_id` has changed.

        Further processes use the old route for `LOCAL_TTL_S` at most.
        """
        self._local.pop(integration_id, None)
        names = (
            keys.route(integration_id),
            keys.primary_route(organization_id),
            keys.organization_routes(organization_id),
        )
        self._client.delete(*names)
        self.load_organization(organization_id)

    def _load_route(self, integration_id: UUID) -> IntegrationRoute | None:
        if self._database is None:
            return None
        return self._store_integration(self._database.integrations.get(integration_id))

    def _store_integration(self, integration: Any) -> IntegrationRoute | None:
        """Return the route of an integration after storing it; None without an account."""
        if integration is None or not integration.account or self._database is None:
            return None
        resends = self._database.policies.resends_unknown(integration.organization_id)
        pacing = self._database.pacing.of_numbers(integration.organization_id)
        route = IntegrationRoute.from_integration(
            integration, resends_unknown=resends, pacing=pacing.get(integration.id)
        )
        with suppress(redis.OutOfMemoryError):  # accepted messages must go out: they free memory
            self.store_routes([route], all_known=False)
        return route

"""The directory: whose an integration is and which account it speaks through, without asking Supabase each time.

Layers: this process (seconds), Redis, Supabase. The clock copies all of Supabase's integrations into Redis every
minute, so that whoever has only Redis knows them too. It holds no key and no token.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import redis
from pydantic import BaseModel, ConfigDict

from shared.phones import DEFAULT_REGION
from shared.redis import keys

if TYPE_CHECKING:  # the producer needs no Supabase
    from shared.database import Database

LOCAL_TTL_S = 10.0
"""How long one process trusts what it has read: a number that was switched off through the API sends on for so long."""
REDIS_TTL_S = 180
"""How long Redis remembers a route that nobody refreshes: the clock does so every minute, for each that there is.

So a number that was deleted in Supabase itself, by nobody's API, sends on for at most this long.
"""


class IntegrationRoute(BaseModel):
    """What sending through an integration needs to know of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    id: UUID
    organization_id: UUID
    name: str
    account: str
    is_primary: bool
    is_enabled: bool
    region: str = DEFAULT_REGION
    resends_unknown: bool = False

    @classmethod
    def of(cls, integration: Any, *, resends_unknown: bool = False) -> Self:
        """Return the route of an integration, which carries more."""
        return cls.model_validate(integration).model_copy(
            update={"resends_unknown": resends_unknown}
        )


class RouteCache:
    def __init__(
        self,
        client: "redis.Redis",
        source: "Database | None",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a `source` the directory knows only what is in Redis."""
        self._client = client
        self._source = source
        self._clock = clock
        self._here: dict[UUID, tuple[float, IntegrationRoute]] = {}

    def known(self, integration_id: UUID) -> IntegrationRoute | None:
        """Return what this process has read lately, without any I/O."""
        until, route = self._here.get(integration_id, (0.0, None))
        return route if self._clock() < until else None

    def find(self, integration_id: UUID) -> IntegrationRoute | None:
        """Return the route of an integration, or None when there is no such (or we cannot know).

        Raises:
            DatabaseUnavailableError: Redis does not know it, and Supabase does not answer.
        """
        if route := self.known(integration_id):
            return route
        stored: Any = self._client.get(keys.route(integration_id))
        route = (
            IntegrationRoute.model_validate_json(stored)
            if stored
            else self._fetched(integration_id)
        )
        if route:
            self._here[integration_id] = (self._clock() + LOCAL_TTL_S, route)
        return route

    def primary(self, organization_id: UUID) -> IntegrationRoute | None:
        """Return the route of the organization's primary number; raises as `find` does."""
        stored: Any = self._client.get(keys.primary_route(organization_id))
        if stored and (route := self.find(UUID(stored.decode()))):
            return route
        integrations = self._source.integrations.list_for(organization_id) if self._source else []
        usable = [each for each in integrations if each.account]
        chosen = next((each for each in usable if each.is_primary), usable[0] if usable else None)
        return self._remembered(chosen)

    def of_account(self, account: str) -> IntegrationRoute | None:
        """Return the route of the integration that speaks through `account`; raises as `find` does."""
        stored: Any = self._client.get(keys.account_route(account))
        if stored and (route := self.find(UUID(stored.decode()))) and route.account == account:
            return route
        return self._remembered(
            self._source.integrations.get_by_account(account) if self._source else None
        )

    def remember(self, routes: Iterable[IntegrationRoute]) -> None:
        """Put routes into Redis, where every process finds them by id, account, and as their organization's primary."""
        pipe = self._client.pipeline(transaction=False)
        for route in routes:
            pipe.set(keys.route(route.id), route.model_dump_json(), ex=REDIS_TTL_S)
            pipe.set(keys.account_route(route.account), str(route.id), ex=REDIS_TTL_S)
            if route.is_primary:
                pipe.set(keys.primary_route(route.organization_id), str(route.id), ex=REDIS_TTL_S)
        pipe.execute()

    def refresh(self, integration_id: UUID, organization_id: UUID) -> None:
        """An integration has changed: read its organization's anew. Other processes follow within `HERE_S`."""
        self._here.pop(integration_id, None)
        self._client.delete(keys.route(integration_id), keys.primary_route(organization_id))
        if self._source is None:
            return
        resends = self._source.policies.resends_unknown(organization_id)
        found = self._source.integrations.list_for(organization_id)
        self.remember(
            IntegrationRoute.of(each, resends_unknown=resends) for each in found if each.account
        )

    def _fetched(self, integration_id: UUID) -> IntegrationRoute | None:
        return self._remembered(
            self._source.integrations.get(integration_id) if self._source else None
        )

    def _remembered(self, integration: Any) -> IntegrationRoute | None:
        if integration is None or not integration.account or self._source is None:
            return None
        resends = self._source.policies.resends_unknown(integration.organization_id)
        route = IntegrationRoute.of(integration, resends_unknown=resends)
        with suppress(
            redis.OutOfMemoryError
        ):  # what was accepted goes out all the same: that makes room again
            self.remember([route])
        return route

"""The directory: whose an integration is and which account it speaks through, without asking Supabase each time.

Layers: this process (seconds), Redis (minutes), Supabase. It holds no key and no token.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

import redis
from pydantic import BaseModel, ConfigDict

from shared.lanes import PREFIX

HERE_S = 10.0
"""How long one process trusts what it has read: a number that was switched off sends on for at most this long."""
REDIS_S = 300


class Route(BaseModel):
    """What sending through an integration needs to know of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    id: UUID
    organization_id: UUID
    name: str
    account: str
    is_primary: bool
    is_enabled: bool
    resends_unknown: bool = False


class Source(Protocol):
    """Where routes come from: `Database`. Integrations carry more than a route; the rest is left behind."""

    def integration(self, integration_id: UUID, /) -> Any: ...
    def integration_by_account(self, account: str, /) -> Any: ...
    def integrations(self, organization_id: UUID, /) -> Any: ...
    def resends_unknown(self, organization_id: UUID, /) -> bool: ...


class Directory:
    def __init__(
        self,
        client: "redis.Redis",
        source: Source | None,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a `source` the directory knows only what others have put into Redis."""
        self._client = client
        self._source = source
        self._prefix = prefix
        self._clock = clock
        self._here: dict[UUID, tuple[float, Route | None]] = {}

    def known(self, integration_id: UUID) -> Route | None:
        """Return what this process has read lately, without any I/O."""
        until, route = self._here.get(integration_id, (0.0, None))
        return route if self._clock() < until else None

    def find(self, integration_id: UUID) -> Route | None:
        """Return the route of an integration, or None when there is no such (or we cannot know).

        Raises:
            DatabaseUnavailableError: it is not cached, and Supabase does not answer.
        """
        if route := self.known(integration_id):
            return route
        stored: Any = self._client.get(self._key(integration_id))
        route = Route.model_validate_json(stored) if stored else self._fetch(integration_id)
        if route:
            self._here[integration_id] = (self._clock() + HERE_S, route)
        return route

    def primary(self, organization_id: UUID) -> Route | None:
        """Return the route of the organization's primary number; raises as `find` does."""
        stored: Any = self._client.get(self._primary_key(organization_id))
        if stored:
            return self.find(UUID(stored.decode()))
        if self._source is None:
            return None
        routes = [Route.model_validate(item) for item in self._source.integrations(organization_id) if item.account]
        chosen = next((route for route in routes if route.is_primary), routes[0] if routes else None)
        if chosen:
            chosen = self._store(chosen)
            self._client.set(self._primary_key(organization_id), str(chosen.id), ex=REDIS_S)
        return chosen

    def of_account(self, account: str) -> Route | None:
        """Return the route of the integration that speaks through `account`; raises as `find` does."""
        key = f"{self._prefix}account:{account}"
        stored: Any = self._client.get(key)
        if stored:
            return self.find(UUID(stored.decode()))
        found = self._source.integration_by_account(account) if self._source else None
        if found is None:
            return None
        self._client.set(key, str(found.id), ex=REDIS_S)
        return self.find(found.id)

    def forget(self, integration_id: UUID, organization_id: UUID) -> None:
        """An integration has changed: read it anew. Other processes do within `HERE_S`."""
        self._here.pop(integration_id, None)
        self._client.delete(self._key(integration_id), self._primary_key(organization_id))

    def _fetch(self, integration_id: UUID) -> Route | None:
        found = self._source.integration(integration_id) if self._source else None
        if found is None or not found.account:
            return None
        return self._store(Route.model_validate(found))

    def _store(self, route: Route) -> Route:
        """Keep a route in Redis, with its organization's policy."""
        if self._source and self._source.resends_unknown(route.organization_id):
            route = route.model_copy(update={"resends_unknown": True})
        self._client.set(self._key(route.id), route.model_dump_json(), ex=REDIS_S)
        return route

    def _key(self, integration_id: UUID) -> str:
        return f"{self._prefix}integration:{integration_id}"

    def _primary_key(self, organization_id: UUID) -> str:
        return f"{self._prefix}primary:{organization_id}"

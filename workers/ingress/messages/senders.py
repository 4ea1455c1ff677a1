"""Which number sends a message: the rule of /v1 and of the CRM's functions.

The number that the message names, else the number on which its recipient wrote last, else the
primary, else any that is connected; never a removed or disabled number. Routes and marks of removal
are read from Redis for each request, so that every process knows a removal, or a number that was
disabled, at once.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError

from shared.errors import DatabaseError, IntegrationNotFoundError, NotFoundError
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from workers.ingress.deps import AppState

MAX_READ = 20
"""Integrations of an organization whose routes are read for a request; of more, those that its
messages may mean."""


@dataclass(frozen=True)
class Numbers:
    """The integrations of an organization; of those that were read and not removed, the routes."""

    organization_id: UUID
    ids: tuple[UUID, ...]
    routes: dict[UUID, IntegrationRoute]

    @property
    def region(self) -> str | None:
        """The organization's region, or None if no integration is known."""
        return next((route.region for route in self.routes.values()), None)

    @property
    def primary(self) -> IntegrationRoute | None:
        return next((route for route in self.routes.values() if route.is_primary), None)

    def find_named(self, integration_id: UUID) -> IntegrationRoute:
        """Return the integration that a message names.

        Raises:
            IntegrationNotFoundError: the organization does not have it (any more).
            RequestValidationError: it is disabled.
        """
        route = self.routes.get(integration_id)
        if route is None:
            raise IntegrationNotFoundError(integration_id)
        if not route.is_enabled:
            msg = f"the integration {route.name!r} is disabled: enable it, or name another"
            raise invalid_field(msg, field="integration_id")
        return route

    def find_default(self, last: UUID | None) -> IntegrationRoute | None:
        """Return the integration `last`, else the primary, unless neither can send."""
        preferred = (self.routes.get(last) if last else None, self.primary)
        return next((route for route in preferred if route and route.is_enabled), None)


def invalid_field(text: str, *, field: str) -> RequestValidationError:
    """Return the error of a field of a request's body."""
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": text}])


async def read_numbers(organization_id: UUID, named: Collection[UUID], state: AppState) -> Numbers:
    """Return an organization's integrations, with the routes of those that messages may mean.

    Raises:
        DatabaseUnavailableError: Redis does not know them, and Supabase did not answer.
    """
    ids = state.integration_ids.get(organization_id)
    if ids is None:
        ids = await _list_ids(organization_id, state)
    wanted = {
        *named,
        *(ids if len(ids) <= MAX_READ else await _find_primary_id(organization_id, state)),
    }
    numbers = Numbers(organization_id, ids, {})
    await add_routes(numbers, wanted, state)
    return numbers


async def add_routes(numbers: Numbers, wanted: Iterable[UUID], state: AppState) -> None:
    """Read further routes of an organization into `numbers`; raises as `read_numbers`."""
    listed = [each for each in wanted if each not in numbers.routes]
    if not listed:
        return
    replies = await state.reader.read([name for each in listed for name in _name_keys(each)])
    missing = []
    for each, stored, removed in zip(listed, replies[::2], replies[1::2], strict=True):
        if stored and not removed:
            _add_route(numbers, each, IntegrationRoute.parse(stored))
        elif not removed:
            missing.append(each)
    if missing:
        load = state.route_cache.load_organization
        loaded = {each.id: each for each in await run_in_threadpool(load, numbers.organization_id)}
        for each in missing:
            _add_route(numbers, each, loaded.get(each))


def _add_route(numbers: Numbers, integration_id: UUID, route: IntegrationRoute | None) -> None:
    if route and route.organization_id == numbers.organization_id:
        numbers.routes[integration_id] = route


@lru_cache(maxsize=4096)
def _name_keys(integration_id: UUID) -> tuple[str, str]:
    return keys.route(integration_id), keys.removed(integration_id)


async def find_any(numbers: Numbers, state: AppState) -> IntegrationRoute:
    """Return an enabled integration: the first connected integration, else the oldest.

    Raises:
        NotFoundError: the organization has none.
    """
    await add_routes(numbers, numbers.ids, state)
    usable = [route for route in numbers.routes.values() if route.is_enabled]
    if not usable:
        msg = (
            "this organization has no connected integration: connect one with POST /v1/integrations"
        )
        if numbers.routes:
            msg = "every integration of this organization is disabled: enable one, or connect one"
        raise NotFoundError(msg)
    if len(usable) == 1:
        return usable[0]
    connected = await _list_connected(numbers.organization_id, state)
    order = {each: place for place, each in enumerate(connected)}
    return min(usable, key=lambda route: (order.get(route.id, len(order)), str(route.id)))


async def find_connected(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationRoute | None:
    """Return the route of an organization's integration that is not being removed."""
    numbers = Numbers(organization_id, (), {})
    await add_routes(numbers, [integration_id], state)
    return numbers.routes.get(integration_id)


async def find_primary(organization_id: UUID, state: AppState) -> IntegrationRoute | None:
    """Return the integration that sends what names none; None if the organization has none."""
    numbers = await read_numbers(organization_id, (), state)
    try:
        return numbers.find_default(None) or await find_any(numbers, state)
    except NotFoundError:
        return None


async def _list_ids(organization_id: UUID, state: AppState) -> tuple[UUID, ...]:
    """Return the ids of all integrations of an organization, and remember them for some time."""
    members: Any = await state.redis.smembers(keys.organization_routes(organization_id))
    ids = tuple(sorted(UUID(member.decode()) for member in members))
    if not ids:
        load = state.route_cache.load_organization
        ids = tuple(route.id for route in await run_in_threadpool(load, organization_id))
    if ids:
        state.integration_ids[organization_id] = ids
    return ids


async def _find_primary_id(organization_id: UUID, state: AppState) -> list[UUID]:
    stored: Any = await state.redis.get(keys.primary_route(organization_id))
    return [UUID(stored.decode())] if stored else []


async def _list_connected(organization_id: UUID, state: AppState) -> list[UUID]:
    """Return the integrations of an organization, the connected before the rest, then the oldest.

    While Supabase does not answer, none is known to be connected.
    """
    try:
        rows = await run_in_threadpool(state.database.integrations.list_for, organization_id)
    except DatabaseError:
        return []
    return [row.id for row in sorted(rows, key=lambda row: row.status != "connected")]

"""FastAPI dependencies: the state of the app, the caller's organization, request headers."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Annotated, Any, TypeVar
from uuid import UUID

from cachetools import TTLCache
from fastapi import Depends, Header, Path, Query, Request, Response
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from shared.database import Database
from shared.errors import AccessError
from shared.event_ids import EventIds
from shared.lanes.client import Lanes
from shared.route_cache import RouteCache
from shared.settings import CallbackSettings, EngineSettings, IngressSettings, KeySettings
from workers.ingress.callers import Caller, Callers
from workers.ingress.console.operators import Operators
from workers.ingress.crm_functions import CrmFunctions
from workers.ingress.enqueue import BatchingProducer
from workers.ingress.events.feeds import SharedFeeds
from workers.ingress.idempotency import IdempotencyStore
from workers.ingress.integrations.open_streams import OpenStreams, SharedLists
from workers.ingress.notifications import Notifications
from workers.ingress.readiness import ReadinessCheck
from workers.ingress.reads import BatchingReader
from workers.ingress.request_limits import RequestLimits
from workers.ingress.shard_states import ShardStates
from workers.repair.shard_clients import ShardClients

MAX_LARGE_BODIES = 8
"""Webhook bodies of more than 1 MiB that are read at the same time; further bodies wait."""
MAX_UPLOADS = 8
"""Files that are uploaded at the same time; further uploads wait."""
MAX_PREFER_WAIT_S = 30
MAX_ORGANIZATIONS = 10_000
INTEGRATION_IDS_TTL_S = 10.0
"""How long a new number may not be the one that is chosen for a message which names none."""
CALLER = "wpp.caller"
"""The key of an ASGI scope under which the authenticated `Caller` stands."""
MISSING_CREDENTIALS = (
    "Missing credentials: send the header "
    "`Authorization: Bearer <service key or Supabase access token>`."
)
INVALID_CREDENTIALS = (
    "Invalid credentials: the bearer token is neither a service key of this server "
    "nor the session of a member of an organization."
)

T = TypeVar("T")


@dataclass(frozen=True)
class AppState:
    """Settings and clients of the process, opened when it starts to serve."""

    engine: EngineSettings
    keys: KeySettings
    service_role_key: SecretStr
    limits: IngressSettings
    payload_ttl_s: int
    """How long the long texts of an accepted event are kept: longer than the event may wait."""
    redis: AsyncRedis
    sync_redis: Redis
    lanes: Lanes
    producer: BatchingProducer
    reader: BatchingReader
    """Values of Redis by their keys."""
    acceptances: BatchingReader
    """When events were accepted (ms since 1970), by the keys of their records."""
    event_ids: EventIds
    database: Database
    route_cache: RouteCache
    callers: Callers
    operators: Operators
    idempotency: IdempotencyStore
    notifications: Notifications
    readiness: ReadinessCheck
    request_limits: RequestLimits
    crm_functions: CrmFunctions
    open_streams: OpenStreams
    shared_lists: SharedLists
    feeds: SharedFeeds
    callback_settings: CallbackSettings
    file_limit: int
    """Bytes of the largest file that may be uploaded."""
    file_days: float
    """How long a file is kept that no message uses."""
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_UPLOADS))
    large_bodies: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_LARGE_BODIES)
    )
    integration_ids: TTLCache[UUID, tuple[UUID, ...]] = field(
        default_factory=lambda: TTLCache(MAX_ORGANIZATIONS, INTEGRATION_IDS_TTL_S)
    )
    """The integrations of organizations, for `workers.ingress.messages.senders`."""
    shards: ShardStates | None = None
    """The states of several shards, of which this is one; None for a single Redis."""

    @property
    def clients(self) -> ShardClients:
        """The clients of all shards, for the console."""
        if self.shards is None:
            return ShardClients({"": self.sync_redis})
        by_name = {name: each.sync_redis for name, each in self.shards.by_name.items()}
        return ShardClients(by_name, self.shards.table)

    async def of_organization(self, organization_id: UUID) -> "AppState":
        """Return the state for an organization; raises as `ShardStates.of_organization`."""
        return await self.shards.of_organization(organization_id) if self.shards else self


async def get_state(request: Request) -> AppState:
    """Return the state that the lifespan of the app has opened, for the caller's shard."""
    state: AppState = request.app.state.ingress
    caller = request.scope.get(CALLER)
    if state.shards and isinstance(caller, Caller):
        return await state.of_organization(caller.organization_id)
    return state


def in_loop(build: Callable[..., T]) -> Any:
    """Return a dependency that FastAPI calls in the event loop, as any async one.

    It calls a plain function, or a class, in a thread of its pool: 0.1 ms of CPU each, when all
    that a request needs is in memory.
    """

    async def call(**values: Any) -> T:
        return build(**values)

    call.__signature__ = signature(build)  # type: ignore[attr-defined] # FastAPI reads it
    return Depends(call)


StateDep = Annotated[AppState, Depends(get_state)]

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="A service key (`wpp keys create` makes one), or the Supabase access token of a "
    "member of the organization.",
)


async def get_caller(request: Request, _credentials: Annotated[object, Depends(bearer)]) -> Caller:
    """Return the caller, whom `workers.ingress.access` has authenticated.

    Raises:
        AccessError: the request has not passed there.
    """
    caller = request.scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise AccessError(MISSING_CREDENTIALS)
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]
"""A route with this parameter requires credentials."""


async def get_organization_id(caller: CallerDep) -> UUID:
    return caller.organization_id


OrganizationId = Annotated[UUID, Depends(get_organization_id)]
"""The caller's organization. A route with this parameter requires credentials."""

MessageId = Annotated[UUID, Path(description="Id of the message.")]
IntegrationId = Annotated[UUID, Path(description="Id of the integration.")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="A unique value chosen by the client. Repeating a request with the same key "
        "and body has no further effect.",
    ),
]


def parse_prefer_wait(
    prefer: Annotated[
        str | None,
        Header(
            max_length=255,
            description="`wait=N` (RFC 7240): hold the response until a QR code, a connection or "
            f"an error is there, for at most N ≤ {MAX_PREFER_WAIT_S} seconds.",
        ),
    ] = None,
) -> int:
    """Return the seconds of `wait=` in a Prefer header, bounded; 0 without it."""
    found = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})", prefer or "", re.IGNORECASE)
    return min(int(found[1]), MAX_PREFER_WAIT_S) if found else 0


PreferWait = Annotated[int, in_loop(parse_prefer_wait)]


async def parse_send_wait(
    prefer: Annotated[
        str | None,
        Header(
            max_length=255,
            description="`wait=N` (RFC 7240): hold the response until sending has ended, for at "
            f"most N ≤ {MAX_PREFER_WAIT_S} seconds.",
        ),
    ] = None,
) -> int:
    """Return what `parse_prefer_wait` does; the header is described for sends."""
    return parse_prefer_wait(prefer)


SendWait = Annotated[int, Depends(parse_send_wait)]

DryRun = Annotated[
    bool,
    Query(description="Say what would happen, with status 200, and accept nothing."),
]


@dataclass(frozen=True)
class ProvisionContext:
    """What every request that connects an integration takes besides its path and body."""

    organization_id: OrganizationId
    state: StateDep
    response: Response
    wait_s: PreferWait
    idempotency_key: IdempotencyKey = None


ProvisionContextDep = Annotated[ProvisionContext, in_loop(ProvisionContext)]

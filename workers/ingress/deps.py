"""FastAPI dependencies: the state of the app, the caller's organization, request headers."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Response
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from shared.database import Database
from shared.errors import AccessError
from shared.event_ids import EventIds
from shared.lanes.client import Lanes
from shared.route_cache import RouteCache
from shared.settings import IngressSettings, KeySettings
from workers.ingress.callers import Caller, Callers
from workers.ingress.crm_functions import CrmFunctions
from workers.ingress.enqueue import BatchingProducer
from workers.ingress.idempotency import IdempotencyStore
from workers.ingress.integrations.open_streams import OpenStreams, SharedLists
from workers.ingress.notifications import Notifications
from workers.ingress.readiness import ReadinessCheck
from workers.ingress.request_limits import RequestLimits

MAX_LARGE_BODIES = 8
"""Webhook bodies of more than 1 MiB that are read at the same time; further bodies wait."""
MAX_PREFER_WAIT_S = 30
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


@dataclass(frozen=True)
class AppState:
    """Settings and clients of the process, opened when it starts to serve."""

    keys: KeySettings
    service_role_key: SecretStr
    limits: IngressSettings
    payload_ttl_s: int
    """How long the long texts of an accepted event are kept: longer than the event may wait."""
    redis: AsyncRedis
    sync_redis: Redis
    lanes: Lanes
    producer: BatchingProducer
    event_ids: EventIds
    database: Database
    route_cache: RouteCache
    callers: Callers
    idempotency: IdempotencyStore
    notifications: Notifications
    readiness: ReadinessCheck
    request_limits: RequestLimits
    crm_functions: CrmFunctions
    open_streams: OpenStreams
    shared_lists: SharedLists
    large_bodies: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_LARGE_BODIES)
    )


def get_state(request: Request) -> AppState:
    """Return the state that the lifespan of the app has opened."""
    state: AppState = request.app.state.ingress
    return state


StateDep = Annotated[AppState, Depends(get_state)]

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="A service key (`wpp keys create` makes one; `wpp key ORGANIZATION_ID` prints the "
    "key of an organization), or the Supabase access token of a member of the organization.",
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


def get_organization_id(caller: CallerDep) -> UUID:
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


PreferWait = Annotated[int, Depends(parse_prefer_wait)]


@dataclass(frozen=True)
class ProvisionContext:
    """What every request that connects an integration takes besides its path and body."""

    organization_id: OrganizationId
    state: StateDep
    response: Response
    wait_s: PreferWait
    idempotency_key: IdempotencyKey = None


ProvisionContextDep = Annotated[ProvisionContext, Depends()]

"""FastAPI dependencies: the state of the app, the caller's organization, request headers."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from shared import signed_keys
from shared.database import Database
from shared.errors import AccessError
from shared.lanes.client import Lanes
from shared.route_cache import RouteCache
from shared.settings import IngressSettings, KeySettings
from workers.ingress.auth import SessionCache
from workers.ingress.enqueue import BatchingProducer
from workers.ingress.idempotency import IdempotencyStore
from workers.ingress.notifications import Notifications

MAX_LARGE_BODIES = 8
"""Webhook bodies of more than 1 MiB that are read at the same time; further bodies wait."""
MAX_PREFER_WAIT_S = 30


@dataclass(frozen=True)
class AppState:
    """Settings and clients of the process, opened when it starts to serve."""

    keys: KeySettings
    limits: IngressSettings
    payload_ttl_s: int
    """How long the long texts of an accepted event are kept: longer than the event may wait."""
    redis: AsyncRedis
    sync_redis: Redis
    lanes: Lanes
    producer: BatchingProducer
    database: Database
    route_cache: RouteCache
    sessions: SessionCache
    idempotency: IdempotencyStore
    notifications: Notifications
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
    description="The service key of an organization (`wpp key ORGANIZATION_ID` prints it), or the "
    "Supabase access token of a member of the organization.",
)


async def authenticate(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)], state: StateDep
) -> UUID:
    """Return the organization that the bearer token stands for.

    Raises:
        AccessError: missing or invalid credentials.
        OverloadedError: too many sessions are being verified.
        DatabaseUnavailableError: Supabase did not answer.
    """
    token = credentials.credentials.strip() if credentials else ""
    if not token:
        msg = (
            "Missing credentials: send the header "
            "`Authorization: Bearer <service key or Supabase access token>`."
        )
        raise AccessError(msg)
    organization_id = signed_keys.read_service_key(token, state.keys.secrets)
    organization_id = organization_id or await state.sessions.find_organization(token)
    if organization_id is None:
        msg = (
            "Invalid credentials: the bearer token is neither a service key of this server "
            "nor the session of a member of an organization."
        )
        raise AccessError(msg)
    return organization_id


OrganizationId = Annotated[UUID, Depends(authenticate)]
"""A route with this parameter requires credentials."""

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


def disable_caching(response: Response) -> None:
    """Forbid caches to store a response."""
    response.headers["Cache-Control"] = "no-store"

"""What the routes work with, built when the door opens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal
from uuid import UUID

import redis.asyncio
from fastapi import Depends, Request

from shared.database import Database
from shared.lanes.client import Append
from shared.route_cache import RouteCache
from shared.settings import IngressSettings, KeySettings
from workers.ingress.auth import Sessions
from workers.ingress.enqueue import GroupedAppends
from workers.ingress.notifications import Changes

BIG_AT_ONCE = 8
"""Webhooks of more than a megabyte that are read at the same time; the others wait for their turn."""


@dataclass(frozen=True)
class Doorway:
    keys: KeySettings
    door: IngressSettings
    blob_ttl_s: int
    """Longer than an event and, after it, its file may wait."""
    redis: "redis.asyncio.Redis"
    appends: GroupedAppends
    database: Database
    route_cache: RouteCache
    sessions: Sessions
    changes: Changes
    try_again: Callable[[Append], None]
    settle_unknown: Callable[[UUID, Literal["sent", "failed", "again"], str | None], bool]
    big_bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BIG_AT_ONCE))


def doorway(request: Request) -> Doorway:
    found: Doorway = request.app.state.doorway
    return found


Here = Annotated[Doorway, Depends(doorway)]

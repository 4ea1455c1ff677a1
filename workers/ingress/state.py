"""What the routes work with, built when the door opens."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

import redis.asyncio
from fastapi import Request

from shared.database import Database
from shared.directory import Directory
from shared.settings import KeySettings
from workers.ingress.grouped import GroupedAppends


@dataclass(frozen=True)
class Doorway:
    keys: KeySettings
    redis: "redis.asyncio.Redis"
    appends: GroupedAppends
    database: Database
    directory: Directory
    settle_unknown: Callable[[UUID, Literal["sent", "failed", "again"]], bool]
    sessions: dict[str, tuple[float, UUID]] = field(default_factory=dict)


def doorway(request: Request) -> Doorway:
    found: Doorway = request.app.state.doorway
    return found

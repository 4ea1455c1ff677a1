"""`Prefer: wait=30` (RFC 7240): an answer held until there is something to see; no thread waits with it."""

import re
import time
from typing import Annotated
from uuid import UUID

from fastapi import Header

from shared.errors import NotFoundError
from workers.ingress.deps import Doorway
from workers.ingress.integrations import schemas as numbers
from workers.ingress.integrations.schemas import IntegrationState

LONGEST_WAIT_S = 30
RECHECK_S = 3.0
"""How often a held answer looks by itself, in case nobody tells it."""

Prefer = Annotated[
    str | None,
    Header(
        max_length=255,
        description="`wait=30` (RFC 7240): answer when there is a code or a connection, at most 30 s later.",
    ),
]


def wait_s(prefer: str | None) -> int:
    """Return the seconds of `wait=` among preferences, bounded; 0 without."""
    found = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})", prefer or "", re.IGNORECASE)
    return min(int(found[1]), LONGEST_WAIT_S) if found else 0


async def awaited(
    before: IntegrationState, organization_id: UUID, seconds: int, here: Doorway
) -> IntegrationState:
    """Return a number's state as soon as there is a code, a connection or an error, newer than `before`."""
    until = time.monotonic() + seconds
    async with here.changes.of(organization_id) as changes:
        while True:
            found = await expected(before.integration_id, organization_id, here)
            news = found.status_at != before.status_at or found.error_at != before.error_at
            if (
                found.status == "connected"
                or numbers.has_fresh_code(found)
                or (found.status == "error" and news)
            ):
                return found
            left_s = until - time.monotonic()
            if left_s <= 0 or changes.closing:
                return found
            await changes.wait(min(RECHECK_S, left_s))


async def expected(integration_id: UUID, organization_id: UUID, here: Doorway) -> IntegrationState:
    """Return the state of a number that was accepted, be it a moment ago."""
    try:
        return await numbers.one(integration_id, organization_id, here)
    except NotFoundError:
        return IntegrationState(
            status="starting", integration_id=integration_id, **numbers.told("starting")
        )

"""GET /v1/integrations/events: an organization's numbers as they change, as server-sent events."""

import json
import time
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from shared.errors import PipelineError
from workers.ingress.callers import Organization
from workers.ingress.deps import Doorway, Here
from workers.ingress.integrations import schemas as numbers

router = APIRouter(prefix=numbers.PATH)

HEARTBEAT_S = 15.0
"""A line at least so often, so that proxies keep the connection; also how often we look without being told."""
STREAM_S = 600.0
"""After so long a stream ends: its caller comes again, and proves anew who they are."""
RETRY_MS = 1000
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(organization_id: Organization, here: Here) -> StreamingResponse:
    """Send `event: numbers` with the list that `GET /v1/integrations` gives: at once, and at each change.

    The stream ends after ten minutes, or when the server does: open it again. `: still here` keeps it alive.
    """
    return StreamingResponse(
        _stream(organization_id, here), media_type="text/event-stream", headers=HEADERS
    )


async def _stream(organization_id: UUID, here: Doorway) -> AsyncIterator[str]:
    until, last = time.monotonic() + STREAM_S, ""
    yield f"retry: {RETRY_MS}\n\n"
    async with here.changes.of(organization_id) as changes:
        while time.monotonic() < until and not changes.closing:
            now = await _snapshot(organization_id, here) or last
            yield f"event: numbers\ndata: {now}\n\n" if now != last else ": still here\n\n"
            last = now
            await changes.wait(HEARTBEAT_S)


async def _snapshot(organization_id: UUID, here: Doorway) -> str:
    """Return the list as one line of JSON, or nothing while Supabase does not answer."""
    try:
        found = await numbers.every(organization_id, here)
    except PipelineError:
        return ""
    return json.dumps([each.model_dump(mode="json") for each in found])

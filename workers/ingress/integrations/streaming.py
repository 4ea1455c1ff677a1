"""Changes of integrations to waiting clients: server-sent events, and held responses."""

import json
import time
from collections.abc import AsyncIterator
from uuid import UUID

import redis
from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from shared.errors import PipelineError
from workers.ingress.deps import AppState, CallerDep, OrganizationId, StateDep
from workers.ingress.integrations.queries import get_accepted, list_integrations
from workers.ingress.integrations.schemas import IntegrationState

router = APIRouter()

STREAM_POLL_S = 15.0
"""How often a stream reads the integrations without a notification, and checks its session."""
STREAM_S = 600.0
"""How long a stream lasts; the client reconnects and is authenticated again."""
RETRY_MS = 1000
HOLD_POLL_S = 3.0
"""How often a held response reads the integration without a notification."""


async def count_stream(organization_id: OrganizationId, state: StateDep) -> AsyncIterator[None]:
    """Count a stream while it is open; raises TooManyStreamsError."""
    with state.open_streams.open(organization_id):
        yield


@router.get(
    "/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(count_stream)],
    summary="Stream the integrations",
    operation_id="stream_integrations",
    response_description="The stream of server-sent events.",
)
async def stream_integrations(caller: CallerDep, state: StateDep) -> AsyncIterator[ServerSentEvent]:
    """Send the list of `GET /v1/integrations` as server-sent events, at once and at each change.

    The type of every event is `numbers`. The stream ends after ten minutes or when the server
    stops: open it again. It also ends within a minute after its credentials have ended. Comments
    keep the connection alive. Too many streams of an organization are refused with 429.
    """
    yield ServerSentEvent(retry=RETRY_MS)
    until = time.monotonic() + STREAM_S
    last, changed = "", True
    async with state.notifications.subscribe(caller.organization_id) as subscription:
        while time.monotonic() < until and not subscription.closing:
            if not await state.callers.is_valid(caller):
                return
            current = await _share_list(caller.organization_id, state, changed=changed) or last
            if current != last:
                yield ServerSentEvent(event="numbers", raw_data=current)
                last = current
            pause_s = min(STREAM_POLL_S, state.limits.wpp_session_check_s, caller.lifetime_s)
            changed = await subscription.wait(pause_s)


async def _share_list(organization_id: UUID, state: AppState, *, changed: bool) -> str:
    async def read() -> str:
        return await _read_list(organization_id, state)

    return await state.shared_lists.get(organization_id, read, changed=changed)


async def _read_list(organization_id: UUID, state: AppState) -> str:
    """Return the list as a line of JSON, or "" while Supabase or Redis does not answer."""
    try:
        integrations = await list_integrations(organization_id, state)
    except (PipelineError, redis.RedisError):
        return ""
    return json.dumps([each.model_dump(mode="json") for each in integrations])


async def wait_for_result(
    before: IntegrationState, organization_id: UUID, wait_s: float, state: AppState
) -> IntegrationState:
    """Return an integration once it has a QR code, a connection or an error newer than `before`.

    After `wait_s` seconds, or when this process stops, the current state is returned.
    """
    until = time.monotonic() + wait_s
    async with state.notifications.subscribe(organization_id) as subscription:
        while True:
            found = await get_accepted(before.integration_id, organization_id, state)
            left_s = until - time.monotonic()
            if _is_result(found, before) or left_s <= 0 or subscription.closing:
                return found
            await subscription.wait(min(HOLD_POLL_S, left_s))


def _is_result(found: IntegrationState, before: IntegrationState) -> bool:
    if found.status == "error":
        return found.status_at != before.status_at or found.error_at != before.error_at
    return found.status == "connected" or found.has_valid_qr

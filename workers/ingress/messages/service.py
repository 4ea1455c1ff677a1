"""Messages: choose the sending integration, read the status, resolve messages in doubt."""

from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError

from shared import routing
from shared.database.models import StatusChange
from shared.errors import DatabaseError, IntegrationNotFoundError, NotFoundError, NotUnknownError
from shared.events import Message
from shared.lanes import records
from shared.lanes.types import Append
from shared.route_cache import IntegrationRoute
from workers.ingress.deps import AppState
from workers.ingress.idempotency import hash_key
from workers.ingress.integrations import pending, queries
from workers.ingress.messages.schemas import MessageResolution, MessageState
from workers.send import in_doubt


async def build_append(
    message: Message,
    organization_id: UUID,
    idempotency_key: str | None,
    state: AppState,
    preferred: UUID | None = None,
) -> Append:
    """Return the append of a message; a retry succeeds even if its integration is gone by now.

    A message that names no integration leaves from the `preferred` one if it is still connected,
    else from the primary.

    Raises:
        NotFoundError: unknown integration, or the organization has none.
        RequestValidationError: the recipient is not a phone number of the organization's region.
    """
    event_id = await _find_event_id(organization_id, idempotency_key, state)
    try:
        route = await _find_route(message, organization_id, state, preferred)
    except NotFoundError:
        if not event_id or not await state.redis.exists(records.record_key(event_id)):
            raise
        integration_id = message.integration_id or UUID(int=0)
        return routing.route_send(organization_id, integration_id, message, event_id)
    try:
        return routing.route_send(organization_id, route.id, message, event_id, route.region)
    except ValueError as error:
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", "to"), "msg": str(error)}]
        ) from None


async def _find_event_id(
    organization_id: UUID, idempotency_key: str | None, state: AppState
) -> UUID | None:
    """Return the id that a key stands for: the earlier one if that message was accepted."""
    if idempotency_key is None:
        return None
    previous = state.event_ids.make_previous(organization_id, idempotency_key)
    if previous and await state.redis.exists(records.record_key(previous)):
        return previous
    return state.event_ids.make(organization_id, idempotency_key)


async def _find_route(
    message: Message, organization_id: UUID, state: AppState, preferred: UUID | None
) -> IntegrationRoute:
    """Return the integration that sends a message, which is never a removed one."""
    if message.integration_id:
        route = await find_connected(message.integration_id, organization_id, state)
        if route is None:
            raise IntegrationNotFoundError(message.integration_id)
        return route
    route = await find_connected(preferred, organization_id, state) if preferred else None
    if route is None or not route.is_enabled:
        route = await find_primary(organization_id, state) or route
    if route is None:
        msg = (
            "this organization has no connected integration: connect one with POST /v1/integrations"
        )
        raise NotFoundError(msg)
    return route


async def find_connected(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationRoute | None:
    """Return the route of an organization's integration that is not being removed."""
    route = state.route_cache.find_local_route(integration_id)
    route = route or await run_in_threadpool(state.route_cache.find_route, integration_id)
    if route is None or route.organization_id != organization_id:
        return None
    return None if await pending.find_removed([route.id], state) else route


async def find_primary(organization_id: UUID, state: AppState) -> IntegrationRoute | None:
    """Return the primary integration; while it is being removed, the next one that sends."""
    route = await run_in_threadpool(state.route_cache.find_primary_route, organization_id)
    if route is None or not await pending.find_removed([route.id], state):
        return route
    listed = await queries.list_integrations(organization_id, state)
    others = [each for each in listed if each.account_number and not each.closing]
    usable = sorted(others, key=lambda each: not each.is_enabled)
    return (
        await find_connected(usable[0].integration_id, organization_id, state) if usable else None
    )


async def get_state(message_id: UUID, organization_id: UUID, state: AppState) -> MessageState:
    """Return the status of a message, from its record in Redis and its row in Supabase.

    Raises:
        NotFoundError: the organization does not have the message.
        DatabaseError: only Supabase can know the message, and it did not answer.
    """
    reply: Any = await state.redis.hmget(records.record_key(message_id), list(records.FIELDS))
    record = records.parse_record(message_id, reply)
    if record and (
        record.queue != "send" or record.tenant != str(organization_id) or record.state == "done"
    ):
        record = None
    found = MessageState.from_record(record) if record else None
    if record is None or record.settled:
        found = await _add_stored_status(message_id, organization_id, found, state)
    if found is None:
        msg = f"no message {message_id} in this organization"
        raise NotFoundError(msg)
    return found


async def _add_stored_status(
    message_id: UUID, organization_id: UUID, found: MessageState | None, state: AppState
) -> MessageState | None:
    """Add the status that webhooks have reported since; without Supabase, `found` is the answer."""
    try:
        row = await run_in_threadpool(state.database.messages.get, message_id, organization_id)
    except DatabaseError:
        if found is None:
            raise
        return found
    if row is None or row.status == "queued":  # the recorder may be a moment behind
        return found
    known = found or MessageState(id=message_id, status=row.status)
    return known.model_copy(update={"status": row.status})


async def get_history(
    message_id: UUID, organization_id: UUID, state: AppState
) -> list[StatusChange]:
    """Return the statuses of a message, oldest first; raises what `get_state` raises."""
    history = await run_in_threadpool(
        state.database.messages.status_history, message_id, organization_id
    )
    if history:
        return history
    current = await get_state(message_id, organization_id, state)  # not yet in Supabase
    at = current.settled_at or current.accepted_at
    if at is None:
        return []
    return [StatusChange(status=current.status, at=at, source="own")]


async def resolve(
    message_id: UUID,
    resolution: MessageResolution,
    organization_id: UUID,
    idempotency_key: str | None,
    state: AppState,
) -> tuple[MessageState, bool]:
    """Resolve a message in doubt; return its status, and whether this repeats an earlier request.

    Raises:
        NotFoundError: the organization does not have the message.
        NotUnknownError: the status of the message is known.
        IdempotencyConflictError: the key was used for a different request.
    """
    current = await get_state(message_id, organization_id, state)
    request = {
        "route": "resolution",
        "message_id": str(message_id),
        "outcome": resolution.outcome,
    }
    stored = await state.idempotency.claim(organization_id, idempotency_key, request, {})
    by = hash_key(idempotency_key) if idempotency_key else None
    resolved = await run_in_threadpool(
        in_doubt.resolve_unknown,
        state.sync_redis,
        state.lanes,
        message_id,
        resolution.outcome,
        by,
    )
    if not resolved:
        msg = f"cannot resolve message {message_id}: its status is {current.status}, not unknown"
        if current.status == "unknown":
            msg = f"message {message_id} has been unknown for too long: it cannot be resolved here"
        raise NotUnknownError(msg)
    return await get_state(message_id, organization_id, state), stored.replayed

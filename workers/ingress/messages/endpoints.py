"""POST and GET /v1/messages."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from shared import routing
from shared.database.models import StatusChange
from shared.errors import DatabaseError, NotFoundError, NotUnknownError
from shared.events import Message, StrictModel
from shared.lanes import records
from shared.lanes.client import Append
from shared.lanes.records import Record
from shared.route_cache import IntegrationRoute
from workers.ingress import idempotency
from workers.ingress.callers import Organization
from workers.ingress.deps import Doorway, Here
from workers.ingress.errors import CONFLICT
from workers.ingress.idempotency import IdempotencyKey

router = APIRouter(prefix="/v1/messages", tags=["messages"])


class AcceptedMessage(BaseModel):
    id: UUID
    status: str = "queued"


class Resolution(StrictModel):
    outcome: Literal["sent", "failed", "again"]


class MessageState(BaseModel):
    """Where a message is. `status`: queued, sent, delivered, read, failed, unknown or deleted."""

    id: UUID
    status: str
    task_id: str | None = None
    reason: str | None = Field(default=None, description="Why it waits or failed, in a sentence.")
    code: str | None = Field(
        default=None, description="How it failed, in one word: refused, expired, not_found, …"
    )
    attempts: int | None = None
    accepted_at: datetime | None = None
    settled_at: datetime | None = None


@router.post("", status_code=202)
async def send(
    message: Message,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
) -> AcceptedMessage:
    """Accept a message: once this is answered, it is kept. It goes out in the order of its conversation."""
    accepted = await here.appends.append(
        await _item(message, organization_id, idempotency_key, here)
    )
    response.headers["Location"] = f"/v1/messages/{accepted.id}"
    if not accepted.new:
        idempotency.say_again(response)
    return AcceptedMessage(id=accepted.id)


@router.get("/{message_id}")
async def state(message_id: UUID, organization_id: Organization, here: Here) -> MessageState:
    """Tell where a message is: from the ledger while it is on its way, from Supabase afterwards."""
    reply: Any = await here.redis.hmget(records.record_key(message_id), list(records.FIELDS))
    record = records.parse_record(message_id, reply)
    if record and (record.kind != "send" or record.tenant != str(organization_id)):
        record = None
    found = _from_ledger(record) if record else None
    if record is None or record.settled:
        found = await _from_supabase(message_id, organization_id, found, here)
    if found is None:
        msg = f"no message {message_id} in this organization"
        raise NotFoundError(msg)
    return found


@router.get("/{message_id}/history")
async def history(
    message_id: UUID, organization_id: Organization, here: Here
) -> list[StatusChange]:
    """List what was said of a message and by whom, in the order in which it happened: `own` is us."""
    found = await run_in_threadpool(
        here.database.messages.status_history, message_id, organization_id
    )
    if found:
        return found
    now = await state(message_id, organization_id, here)  # Supabase will hear of it in a moment
    at = now.settled_at or now.accepted_at
    return (
        [StatusChange.model_validate({"status": now.status, "at": at, "source": "own"})]
        if at
        else []
    )


@router.post("/{message_id}/resolution", responses=CONFLICT)
async def resolve(
    message_id: UUID,
    wanted: Resolution,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
) -> MessageState:
    """Say what became of a message whose status is `unknown`, or have it sent `again`."""
    found = await state(message_id, organization_id, here)
    asked = {"route": "resolution", "message_id": str(message_id), "outcome": wanted.outcome}
    bound = await idempotency.bind(organization_id, idempotency_key, asked, {}, here)
    by = idempotency.digest(idempotency_key) if idempotency_key else None
    if not await run_in_threadpool(here.settle_unknown, message_id, wanted.outcome, by):
        msg = (
            f"nothing to settle: the status of message {message_id} is {found.status}, not unknown"
        )
        raise NotUnknownError(msg)
    if bound.again:
        idempotency.say_again(response)
    return await state(message_id, organization_id, here)


async def _item(
    message: Message, organization_id: UUID, idempotency_key: str | None, here: Doorway
) -> Append:
    """Return the append of a message; of one that is a retry, also when its number is gone by now."""
    try:
        route = await _route(message, organization_id, here)
    except NotFoundError:
        known = idempotency_key and await here.redis.exists(
            records.record_key(routing.make_event_id(organization_id, idempotency_key))
        )
        if not known:
            raise
        return routing.route_send(
            organization_id, message.integration_id or UUID(int=0), message, idempotency_key
        )
    return _placed(route, message, idempotency_key)


def _placed(route: IntegrationRoute, message: Message, idempotency_key: str | None) -> Append:
    """Return the append of a message, its recipient read as people write in the organization's region."""
    try:
        return routing.route_send(
            route.organization_id, route.id, message, idempotency_key, route.region
        )
    except ValueError as error:
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", "to"), "msg": str(error)}]
        ) from None


async def _route(message: Message, organization_id: UUID, here: Doorway) -> IntegrationRoute:
    """Return the number to send from: the one named if it is the caller's, else the organization's primary."""
    wanted = message.integration_id
    if wanted is None:
        route = await run_in_threadpool(here.route_cache.find_primary_route, organization_id)
        if route is None:
            msg = "this organization has no connected number yet: connect one with POST /v1/integrations"
            raise NotFoundError(msg)
        return route
    route = here.route_cache.find_local_route(wanted) or await run_in_threadpool(
        here.route_cache.find_route, wanted
    )
    if route is None or route.organization_id != organization_id:
        msg = f"no integration {wanted} in this organization"
        raise NotFoundError(msg)
    return route


def _from_ledger(record: Record) -> MessageState:
    return MessageState(
        id=record.id,
        status="queued" if record.state == "claimed" else record.state,
        task_id=record.task_id,
        reason=record.reason if record.state != "sent" else None,
        code=record.code if record.state == "failed" else None,
        attempts=record.attempts,
        accepted_at=record.accepted,
        settled_at=record.settled,
    )


async def _from_supabase(
    message_id: UUID, organization_id: UUID, found: MessageState | None, here: Doorway
) -> MessageState | None:
    """Add what webhooks have told since; without Supabase the ledger's word stands."""
    try:
        row = await run_in_threadpool(here.database.messages.get, message_id, organization_id)
    except DatabaseError:
        if found is None:
            raise
        return found
    if row is None or row.status == "queued":  # the recorder may be a moment behind
        return found
    known = found or MessageState(id=message_id, status=row.status)
    return known.model_copy(update={"status": row.status})

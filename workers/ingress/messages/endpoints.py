"""/v1/messages: send messages and read their status."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from shared.events import Message
from shared.timeline import TimelineEvent
from workers.ingress.deps import (
    DryRun,
    IdempotencyKey,
    MessageId,
    OrganizationId,
    SendWait,
    StateDep,
    in_loop,
)
from workers.ingress.errors import CONFLICT, RESPONSES
from workers.ingress.idempotency import set_replayed_header
from workers.ingress.messages import cancellation, service
from workers.ingress.messages.plans import MessagePlan, plan_messages
from workers.ingress.messages.preparation import prepare_message
from workers.ingress.messages.schemas import AcceptedMessage, MessageResolution, MessageState
from workers.ingress.messages.verdicts import hold_for_verdict

SENT_OR_PLANNED = (
    "With `Prefer: wait`, the status of a message whose sending has ended: `sent`, `failed` or "
    "`unknown`. With `dry_run`, what would happen."
)

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=RESPONSES)


@dataclass(frozen=True)
class SendContext:
    """What sending a message takes besides its body."""

    organization_id: OrganizationId
    state: StateDep
    response: Response
    wait_s: SendWait
    dry_run: DryRun = False
    idempotency_key: IdempotencyKey = None

    def answer_now(self, found: BaseModel) -> JSONResponse:
        """Answer with status 200, in place of 202."""
        return JSONResponse(found.model_dump(mode="json"), headers=dict(self.response.headers))


@router.post(
    "",
    status_code=202,
    summary="Send a message",
    operation_id="send_message",
    response_description="The message was accepted.",
    response_model=AcceptedMessage,
    responses={200: {"model": MessageState | MessagePlan, "description": SENT_OR_PLANNED}},
)
async def send_message(
    message: Message, context: Annotated[SendContext, in_loop(SendContext)]
) -> AcceptedMessage | JSONResponse:
    """Accept a message for sending.

    An accepted message is stored durably. Messages of a conversation are sent in the order in
    which they were accepted. `Location` is the path of the message's status. A request that is
    repeated with the same Idempotency-Key gets the present status of its message.
    """
    state, organization_id = context.state, context.organization_id
    key = context.idempotency_key
    if context.dry_run:
        prepared = await prepare_message(message, organization_id, key, state)
        (plan,) = await plan_messages([prepared], state)
        return context.answer_now(plan)
    sending = await service.accept_message(message, organization_id, key, state)
    accepted = sending.accepted
    context.response.headers["Location"] = sending.location
    if not accepted.new:
        set_replayed_header(context.response)
    is_held = accepted.state != "scheduled"
    if is_held and (found := await _hold(accepted.id, context)):
        known = found.integration_id or sending.integration_id
        return context.answer_now(found.model_copy(update={"integration_id": known}))
    return await service.describe_sending(sending, organization_id, state)


async def _hold(message_id: UUID, context: SendContext) -> MessageState | None:
    """Return the status of a message whose sending ends in time, where the request waits."""
    if not context.wait_s:
        return None
    found, is_held = await hold_for_verdict(
        message_id, context.organization_id, context.wait_s, context.state
    )
    if is_held:
        context.response.headers["Preference-Applied"] = f"wait={context.wait_s}"
    return found


@router.get(
    "/{message_id}",
    summary="Get the status of a message",
    operation_id="get_message",
    response_description="The status of the message.",
)
async def get_message(
    message_id: MessageId, organization_id: OrganizationId, state: StateDep
) -> MessageState:
    """Return the current status of a message and, while it waits or after it failed, the reason."""
    return await service.get_state(message_id, organization_id, state)


@router.get(
    "/{message_id}/history",
    summary="List what happened to a message",
    operation_id="list_message_history",
    response_description="The events of the message.",
)
async def list_message_history(
    message_id: MessageId, organization_id: OrganizationId, state: StateDep
) -> list[TimelineEvent]:
    """List what happened to a message, the earliest first: accepted, each attempt, sent, acks.

    The platform reports whole seconds by its own clock: its reports stand after what caused them.
    Of the attempts that postponed a message, the first 20 are listed.
    """
    return await service.get_timeline(message_id, organization_id, state)


@router.post(
    "/{message_id}/cancel",
    summary="Cancel a message that waits",
    operation_id="cancel_message",
    response_description="The status of the message: `cancelled`.",
    responses=CONFLICT,
)
async def cancel_message(
    message_id: MessageId,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> MessageState:
    """Take a message back that is `queued` or `scheduled`: it is never sent.

    What waits behind it in its conversation goes on. A message that is being sent, or was, is
    refused with 409. A message that was cancelled before stays so.
    """
    request = {"route": "cancel", "message_id": str(message_id)}
    stored = await state.idempotency.claim(organization_id, idempotency_key, request, {})
    found = await cancellation.cancel_message(message_id, organization_id, state)
    if stored.replayed:
        set_replayed_header(response)
    return found


@router.post(
    "/{message_id}/resolution",
    summary="Resolve a message of unknown status",
    operation_id="resolve_message",
    response_description="The status of the message.",
    responses=CONFLICT,
)
async def resolve_message(
    message_id: MessageId,
    resolution: MessageResolution,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> MessageState:
    """Decide what happened to a message of status `unknown`, or have it sent again.

    A message with a known status is refused with 409.
    """
    found, replayed = await service.resolve(
        message_id, resolution, organization_id, idempotency_key, state
    )
    if replayed:
        set_replayed_header(response)
    return found

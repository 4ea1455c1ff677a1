"""/v1/messages: send messages and read their status."""

from fastapi import APIRouter, Response

from shared.database.models import StatusChange
from shared.events import Message
from workers.ingress.deps import IdempotencyKey, MessageId, OrganizationId, StateDep
from workers.ingress.errors import CONFLICT, RESPONSES
from workers.ingress.idempotency import set_replayed_header
from workers.ingress.messages import service
from workers.ingress.messages.schemas import AcceptedMessage, MessageResolution, MessageState

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=RESPONSES)


@router.post(
    "",
    status_code=202,
    summary="Send a message",
    operation_id="send_message",
    response_description="The message was accepted.",
)
async def send_message(
    message: Message,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> AcceptedMessage:
    """Accept a message for sending.

    An accepted message is stored durably. Messages of a conversation are sent in the order in
    which they were accepted. `Location` is the path of the message's status. A request that is
    repeated with the same Idempotency-Key gets the present status of its message.
    """
    item = await service.build_append(message, organization_id, idempotency_key, state)
    accepted = await state.producer.append(item)
    response.headers["Location"] = f"/v1/messages/{accepted.id}"
    if accepted.new:
        return AcceptedMessage(id=accepted.id)
    set_replayed_header(response)
    found = await service.get_state(accepted.id, organization_id, state)
    return AcceptedMessage(id=found.id, status=found.status)


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
    summary="List the statuses of a message",
    operation_id="list_message_history",
    response_description="The statuses of the message.",
)
async def list_message_history(
    message_id: MessageId, organization_id: OrganizationId, state: StateDep
) -> list[StatusChange]:
    """List every status of a message, oldest first.

    `source` is `own` for what this server did, and `platform` for what the platform reported.
    """
    return await service.get_history(message_id, organization_id, state)


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

"""/v1/messages/{id}: edit, delete, react, download; and mark a conversation as read.

WhatsApp's "typing…" has no route: the platform has no endpoint for it.
"""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError

from shared.errors import ImpossibleChangeError
from shared.phones import DEFAULT_REGION, normalize
from workers.ingress.deps import (
    IdempotencyKey,
    MessageId,
    OrganizationId,
    PreferWait,
    StateDep,
    in_loop,
)
from workers.ingress.errors import CONFLICT, RESPONSES
from workers.ingress.idempotency import set_replayed_header
from workers.ingress.messages import changes, downloads, senders
from workers.ingress.messages.change_schemas import (
    MessageChange,
    MessageEdit,
    MessageFile,
    MessageReaction,
    ReadConversation,
)
from workers.ingress.messages.changes import ChangeRequest, ChangeResult
from workers.ingress.messages.verdicts import VERDICT_WAIT_S

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=RESPONSES)
WAITING = {
    202: {
        "model": MessageChange,
        "description": "The change waits; the same request with the same Idempotency-Key tells "
        "what became of it.",
    },
    **CONFLICT,
}


@dataclass(frozen=True)
class ChangeContext:
    """What every change of a message takes besides its body."""

    organization_id: OrganizationId
    state: StateDep
    response: Response
    wait_s: PreferWait
    idempotency_key: IdempotencyKey = None

    def ask(self, message_id: UUID) -> ChangeRequest:
        wait_s = self.wait_s or VERDICT_WAIT_S
        return ChangeRequest(message_id, self.organization_id, self.idempotency_key, wait_s)

    def answer(self, message_id: UUID, found: ChangeResult, done: str) -> MessageChange:
        """Return the answer to a change: 200 when it is done, 202 while it waits."""
        if found.replayed:
            set_replayed_header(self.response)
        detail = f"In the CRM only: {found.error}." if found.error else done
        if found.waits:
            self.response.status_code = 202
            detail = "Accepted; it follows what is before it in its conversation."
        return MessageChange(
            id=message_id,
            state="waiting" if found.waits else "done",
            for_everyone=found.done,
            detail=detail,
            task_id=found.task_id,
        )


ChangeContextDep = Annotated[ChangeContext, in_loop(ChangeContext)]


@router.patch(
    "/{message_id}",
    summary="Edit a message",
    operation_id="edit_message",
    response_description="The message was edited.",
    responses=WAITING,
)
async def edit_message(
    message_id: MessageId, edit: MessageEdit, context: ChangeContextDep
) -> MessageChange:
    """Give a message that was sent through this server another text, or its file another caption.

    The platform cannot edit: the message is deleted for both sides and sent anew, so the recipient
    sees it as a new one, at the end of the conversation. It keeps its id here and its row in the
    CRM. An edit that is refused, or whose effect is not known, is answered with 409.
    """
    request = context.ask(message_id)
    found = _require(await changes.edit_message(request, edit.text, context.state))
    return context.answer(
        message_id, found, "Deleted and sent anew: the platform cannot edit a message."
    )


@router.delete(
    "/{message_id}",
    summary="Delete a message",
    operation_id="delete_message",
    response_description="The message was deleted, for everyone or in the CRM only.",
    responses=WAITING,
)
async def delete_message(message_id: MessageId, context: ChangeContextDep) -> MessageChange:
    """Delete a message for both sides where WhatsApp and the platform can, else in the CRM's row.

    Only a message that was sent through this server is deleted for everyone; `for_everyone` tells
    it, and `detail` why not.
    """
    found = await changes.delete_message(context.ask(message_id), context.state)
    done = "Cancelled before it was sent." if found.cancelled else "Deleted for everyone."
    return context.answer(message_id, found, done)


@router.put(
    "/{message_id}/reaction",
    summary="React to a message",
    operation_id="react_to_message",
    response_description="The recipient sees the reaction.",
    responses=WAITING,
)
async def react_to_message(
    message_id: MessageId, reaction: MessageReaction, context: ChangeContextDep
) -> MessageChange:
    """React to a message as the organization's phone; a former reaction of it is replaced.

    WhatsApp's id of the message has to be known: that of a message that arrived is, that of a sent
    one only if the platform reports it. Until then the answer is 409. A reaction that could not be
    given within a minute is dropped.
    """
    request = context.ask(message_id)
    found = _require(await changes.react(request, reaction.emoji, context.state))
    return context.answer(message_id, found, "Reacted.")


@router.delete(
    "/{message_id}/reaction",
    summary="Take a reaction back",
    operation_id="withdraw_reaction",
    response_description="The reaction is gone.",
    responses=WAITING,
)
async def withdraw_reaction(message_id: MessageId, context: ChangeContextDep) -> MessageChange:
    """Take the organization's reaction to a message back.

    WhatsApp does that by a reaction without an emoji. Where the platform does not take one, the
    answer is 409 with its reason, and the reaction stays.
    """
    found = _require(await changes.react(context.ask(message_id), "", context.state))
    return context.answer(message_id, found, "Taken back.")


@router.get(
    "/{message_id}/file",
    summary="Get a link to the file of a message",
    operation_id="get_message_file",
    response_description="A link that works without credentials.",
)
async def get_message_file(
    message_id: MessageId, organization_id: OrganizationId, state: StateDep
) -> MessageFile:
    """Return a link to the file of a message.

    A file that arrived and was not stored is requested from the platform, which may take 15 s.
    """
    found = await downloads.find_file(message_id, organization_id, state)
    return MessageFile(url=found.url, filename=found.name, mime=found.mime)


conversations = APIRouter(prefix="/v1/conversations", tags=["messages"], responses=RESPONSES)


@conversations.post(
    "/{phone}/read",
    summary="Mark a conversation as read",
    operation_id="mark_conversation_read",
    response_description="How many messages were unread.",
)
async def mark_conversation_read(
    phone: Annotated[str, Path(max_length=64, description="Phone of the other end, in any form.")],
    organization_id: OrganizationId,
    state: StateDep,
    _idempotency_key: IdempotencyKey = None,
) -> ReadConversation:
    """Mark what arrived from a phone as read, in the CRM's rows, as opening its chat does.

    The platform has no endpoint for it: the customer sees no blue ticks. Repeating it has no
    further effect.
    """
    route = await senders.find_primary(organization_id, state)
    try:
        digits = normalize(phone, route.region if route else DEFAULT_REGION)
    except ValueError as error:
        fault = {"type": "value_error", "loc": ("path", "phone"), "msg": str(error)}
        raise RequestValidationError([fault]) from None
    messages = state.database.messages
    marked = await run_in_threadpool(messages.mark_read, organization_id, digits)
    return ReadConversation(phone=digits, marked=marked)


def _require(found: ChangeResult) -> ChangeResult:
    """Raise ImpossibleChangeError for a change that was not made."""
    if found.error:
        raise ImpossibleChangeError(found.error)
    return found

"""Functions of a message that was sent or received: edit, delete, react, download."""

from http import HTTPStatus
from uuid import UUID

from pydantic import ValidationError
from starlette.responses import Response

from shared.errors import ImpossibleChangeError
from workers.ingress.functions.answers import FunctionError, not_found, succeed
from workers.ingress.functions.calls import FunctionCall
from workers.ingress.functions.repeats import claim_edit_key, claim_key
from workers.ingress.messages import changes, downloads
from workers.ingress.messages.change_schemas import MessageEdit
from workers.ingress.messages.changes import ChangeRequest

EMOJIS = {"🔥", "😂", "👍", "❤️", "😡"}
NO_MESSAGE = "Message not found"


async def edit(call: FunctionCall) -> Response:
    """wpp-edit: the platform cannot edit, so the message is deleted and sent anew."""
    message_id = _read_message_id(call)
    text = _read_new_text(call)
    key = await claim_edit_key(call, message_id, text)
    request = ChangeRequest(message_id, call.organization_id, key)
    try:
        found = await changes.edit_message(request, text, call.state)
    except ImpossibleChangeError as error:
        raise FunctionError(str(error)) from None
    return succeed(
        success=found.error is None,
        message="Deleted and sent anew: WhatsApp's platform cannot edit.",
        newTaskId=found.task_id,
        error=found.error,
    )


async def delete(call: FunctionCall) -> Response:
    """wpp-delete: for both sides where the platform can, in the row in any case."""
    message_id = _read_message_id(call)
    request = ChangeRequest(message_id, call.organization_id, await claim_key(call))
    try:
        found = await changes.delete_message(request, call.state)
    except ImpossibleChangeError as error:
        raise FunctionError(str(error), HTTPStatus.CONFLICT) from None
    return succeed(wppDeleted=found.done)


async def react(call: FunctionCall) -> Response:
    """wpp-react: the page has stored the reaction itself; this shows it in WhatsApp.

    It has no key: a repeat does no harm, and a reaction that is changed back is a new one.
    """
    message_id = _read_message_id(call)
    emoji = call.text("emoji")
    if emoji not in EMOJIS:
        msg = f"emoji must be one of {' '.join(sorted(EMOJIS))}"
        raise FunctionError(msg)
    request = ChangeRequest(message_id, call.organization_id)
    found = await changes.react(request, emoji, call.state)
    return succeed(wppSent=found.done, wppError=found.error)


async def download(call: FunctionCall) -> Response:
    """wpp-download: a link to the file of a message, which is named by its external id."""
    external_id = call.text("messageId", "message_id")
    if external_id is None:
        msg = "messageId is required"
        raise FunctionError(msg)
    found = await downloads.find_file_by_external_id(external_id, call.organization_id, call.state)
    return succeed(downloadUrl=found.url, fileName=found.name, fileType=found.mime)


def _read_message_id(call: FunctionCall) -> UUID:
    if call.text("messageId", "message_id") is None:
        msg = "messageId is required"
        raise FunctionError(msg)
    message_id = call.uuid("messageId", "message_id")
    if message_id is None:  # a bubble that is not stored yet
        raise not_found(NO_MESSAGE)
    return message_id


def _read_new_text(call: FunctionCall) -> str:
    """Return the new text of an edit, within the limits of the API.

    Raises:
        FunctionError: it has none, or one that could not be sent.
    """
    text = call.fields.get("newMessage") or call.fields.get("message")
    if not isinstance(text, str) or not text.strip():
        msg = "newMessage is required"
        raise FunctionError(msg)
    try:
        return MessageEdit(text=text).text
    except ValidationError as error:
        fault = error.errors()[0]
        msg = f"newMessage: {fault['msg'].removeprefix('Value error, ')}"
        raise FunctionError(msg) from None

"""wpp-send, and whatsapp-send for organizations whose WhatsApp is connected here."""

from typing import Any
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from shared.events import Message
from shared.file_types import find_kind
from workers.ingress.functions import numbers
from workers.ingress.functions.answers import FunctionError, not_found, succeed
from workers.ingress.functions.calls import FunctionCall, read_uuid
from workers.ingress.functions.integrations import is_ours
from workers.ingress.functions.passing import pass_on
from workers.ingress.functions.repeats import claim_key
from workers.ingress.messages.preparation import prepare_message
from workers.ingress.messages.verdicts import wait_for_verdict

TEACHER_PREFIX = "teacher:"
NUMBER_FIELDS = ("integration_id", "integrationId")
STATE_ACTIONS = {"test_connection", "get_state"}


async def send(call: FunctionCall) -> Response:
    """wpp-send: send a message, and wait some seconds for the platform's verdict.

    A message that waits longer, for a phone or for the platform, is answered as accepted.
    """
    action = call.text("action")
    if action:
        return await _act(call, action)
    key = await claim_key(call)
    message = await _build_message(call)
    try:
        prepared = await prepare_message(message, call.organization_id, key, call.state)
    except RequestValidationError as error:
        text = str(error.errors()[0]["msg"])
        msg = f"{text[:1].upper()}{text[1:]}."
        raise FunctionError(msg) from None
    accepted = await call.state.producer.append(prepared.build_append())
    found = await wait_for_verdict(accepted.id, call.state)
    failed = found.status == "failed"
    return succeed(
        success=not failed,
        messageId=str(found.id),
        savedMessageId=str(found.id),
        taskId=found.task_id,
        status=found.status,
        error=(found.reason or "The message could not be sent.") if failed else None,
    )


async def send_whatsapp(call: FunctionCall) -> Response:
    """whatsapp-send: the same where the organization's WhatsApp is ours, else the CRM's own."""
    if await is_ours(call):
        return await send(call)
    return await pass_on(call)


async def _act(call: FunctionCall, action: str) -> Response:
    if action not in STATE_ACTIONS:
        return succeed(success=False, error=f"{action!r} is not supported."[:100])
    number = await numbers.find_number(call, *NUMBER_FIELDS)
    status = numbers.show_status(number) if number else "disconnected"
    is_connected = number is not None and numbers.is_connected(number)
    state = {
        "status": status,
        "stateInstance": "authorized" if is_connected else "notAuthorized",
    }
    reason = None if is_connected else (number and number.error) or "WhatsApp is not connected."
    message = "WhatsApp is connected." if is_connected else reason
    return succeed(success=is_connected, status=status, state=state, message=message, error=reason)


def _read_recipient(call: FunctionCall) -> dict[str, Any]:
    """Return the recipient's fields of a message; an empty or made-up client id is ignored.

    Raises:
        FunctionError: the call has no recipient.
    """
    phone = call.text("phoneNumber", "phone")
    client = call.text("clientId", "client_id")
    teacher = call.text("teacherId", "teacher_id")
    if client and client.startswith(TEACHER_PREFIX):
        teacher = teacher or client.removeprefix(TEACHER_PREFIX)
        client = None
    if not (phone or client or teacher):
        msg = "clientId, teacherId or phoneNumber is required"
        raise FunctionError(msg)
    client_id, teacher_id = read_uuid(client), read_uuid(teacher)
    if not (phone or client_id or teacher_id):
        msg = f"No such client: {client or teacher}"
        raise not_found(msg[:100])
    if client_id and not phone:
        teacher_id = None
    return {"to": phone, "client_id": client_id, "teacher_id": teacher_id}


async def _build_message(call: FunctionCall) -> Message:
    """Return the message of a call, its text unchanged: the page recognises it by that.

    Raises:
        FunctionError: it has neither text nor file, or a phone or a link that cannot be one; or it
            names a number that the organization does not have.
    """
    values: dict[str, Any] = {
        **_read_recipient(call),
        "text": _read_content(call),
        "sender_name": (call.text("senderName", "sender_name") or "")[:255] or None,
    }
    if url := call.text("fileUrl"):
        name = call.text("fileName")
        kind, mime = find_kind(url, name)
        values["media"] = {"type": kind, "url": url, "filename": name, "mime": mime}
    if call.text(*NUMBER_FIELDS):
        values["integration_id"] = await _find_integration_id(call)
    try:
        return Message.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        msg = f"{field}: {fault['msg'].removeprefix('Value error, ')}"
        raise FunctionError(msg) from None


def _read_content(call: FunctionCall) -> str:
    values = (call.fields.get(name) for name in ("message", "text"))
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


async def _find_integration_id(call: FunctionCall) -> UUID:
    """Return the id of the number that a call names by its id, account or `wpp_<account>`."""
    if integration_id := call.uuid(*NUMBER_FIELDS):
        return integration_id
    number = await numbers.find_number(call, *NUMBER_FIELDS)
    if number is None:
        msg = "This organization has no such number."
        raise not_found(msg)
    return number.integration_id

"""The message that another one answers: whose it is, and which of its lines are quoted."""

from uuid import UUID

from shared.database.models import StoredMessage
from shared.errors import NotFoundError
from shared.events import Message, Reply
from shared.phones import normalize
from workers.ingress.deps import AppState
from workers.ingress.messages.recipients import Destination
from workers.ingress.messages.rows import find_message_phone, find_row
from workers.ingress.messages.senders import invalid_field

MAX_LINES = 3
MAX_CHARS = 200


async def find_reply(
    message: Message, to: Destination, organization_id: UUID, state: AppState
) -> Reply | None:
    """Return what a message quotes, if it answers another.

    Raises:
        NotFoundError: the organization has no such message.
        RequestValidationError: it belongs to the conversation with another person.
    """
    if message.reply_to is None:
        return None
    try:
        row = await find_row(message.reply_to, organization_id, state)
    except NotFoundError as error:
        msg = f"{error} (reply_to)"
        raise NotFoundError(msg) from None
    if not await _is_same_person(row, message, to, state):
        fault = "this message was exchanged with another recipient"
        raise invalid_field(fault, field="reply_to")
    return Reply(message_id=row.id, wa_message_id=_find_whatsapp_id(row), quote=_quote(row))


async def _is_same_person(
    row: StoredMessage, message: Message, to: Destination, state: AppState
) -> bool:
    if message.client_id and message.client_id == row.client_id:
        return True
    phone = await find_message_phone(row, state)
    try:
        return bool(phone) and normalize(phone or "", to.route.region) == to.phone
    except ValueError:
        return False


def _quote(row: StoredMessage) -> str:
    """Return the first lines of a message, or what stands for its file."""
    lines = [" ".join(line.split()) for line in row.text.splitlines() if line.strip()]
    text = "\n".join(lines[:MAX_LINES])
    is_cut = len(lines) > MAX_LINES or len(text) > MAX_CHARS
    if text:
        return f"{text[:MAX_CHARS].rstrip()}…" if is_cut else text
    content = row.metadata.get("content")
    return row.file_name or f"[{str(content or 'message')[:20].capitalize()}]"


def _find_whatsapp_id(row: StoredMessage) -> str | None:
    known = row.metadata.get("waMessageId") or (None if row.outgoing else row.external_message_id)
    return known if isinstance(known, str) else None

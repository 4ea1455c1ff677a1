"""The row of a message by its id, also of a message that is not in Supabase yet."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from shared import routing
from shared.database.models import StoredMessage
from shared.errors import NotFoundError
from shared.events import SendEvent, is_change
from shared.lanes import records
from workers.ingress.deps import AppState

ROW_POLLS, ROW_POLL_S = 10, 0.2


async def find_row(message_id: UUID, organization_id: UUID, state: AppState) -> StoredMessage:
    """Return the row of a message, or what it will be: the recorder may be a moment behind.

    Raises:
        NotFoundError: the organization has no such message.
    """
    for _ in range(ROW_POLLS):
        row = await run_in_threadpool(state.database.messages.get, message_id, organization_id)
        if row is not None:
            return row
        reply: Any = await state.redis.hmget(records.record_key(message_id), list(records.FIELDS))
        record = records.parse_record(message_id, reply)
        is_message = record and record.queue == "send" and record.tenant == str(organization_id)
        if record is None or not is_message:
            break
        if record.body:
            if is_change(record.body):
                break
            with suppress(ValidationError):  # of a newer version: its row will come
                return _read_event(SendEvent.model_validate_json(record.body))
        await asyncio.sleep(ROW_POLL_S)
    msg = f"no message {message_id} in this organization"
    raise NotFoundError(msg)


def _read_event(event: SendEvent) -> StoredMessage:
    """Return the row that a message will have."""
    queued = routing.build_message_outcome(event, "queued", event.accepted_at)
    same = {"id", "organization_id", "client_id", "teacher_id", "integration_id", "outgoing"}
    files = {"text", "status", "file_url", "file_name", "file_type"}
    return StoredMessage.model_validate(
        {
            **queued.model_dump(include=same | files),
            "external_message_id": None,
            "metadata": {"phone": event.to, "content": queued.content},
            "created_at": event.accepted_at,
        }
    )


async def find_message_phone(row: StoredMessage, state: AppState) -> str | None:
    """Return the phone of a message's recipient or sender; None if it is not known."""
    if isinstance(row.metadata.get("phone"), str):
        return str(row.metadata["phone"])
    contacts = state.database.contacts
    if row.client_id:
        contact = await run_in_threadpool(contacts.get, "clients", row.client_id)
    elif row.teacher_id:
        contact = await run_in_threadpool(contacts.get, "teachers", row.teacher_id)
    else:
        contact = None
    return contact.phone if contact and contact.organization_id == row.organization_id else None

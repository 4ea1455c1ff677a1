"""A link to the file of a message, which is fetched from the platform where it is not stored."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import get_args
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared import routing
from shared.database.models import StoredMessage
from shared.errors import NotFoundError
from shared.events import MediaEvent
from shared.lanes.records import record_key
from shared.outcomes import ContentType, MessageOutcome
from workers.ingress.deps import AppState
from workers.ingress.messages import senders
from workers.ingress.messages.rows import find_row
from workers.ingress.messages.verdicts import wait_for_record

FETCH_WAIT_S = 15.0
ROW_POLLS, ROW_POLL_S = 15, 0.2
WITHOUT_FILE = {"text", "location", "contact", "other"}


@dataclass(frozen=True)
class FileLink:
    url: str
    name: str | None
    mime: str | None


async def find_file(message_id: UUID, organization_id: UUID, state: AppState) -> FileLink:
    """Return a link to the file of a message, as `find_file_by_external_id` does."""
    row = await find_row(message_id, organization_id, state)
    return await _find_file(row, partial(find_row, message_id, organization_id, state), state)


async def find_file_by_external_id(
    external_id: str, organization_id: UUID, state: AppState
) -> FileLink:
    """Return a link that works without credentials, for some time.

    Raises:
        NotFoundError: the organization has no such message, or the message has no file.
    """
    read = partial(_find_by_external_id, external_id, organization_id, state)
    return await _find_file(await read(), read, state)


async def _find_file(
    row: StoredMessage, read_again: Callable[[], Awaitable[StoredMessage]], state: AppState
) -> FileLink:
    if link := await _make_link(row, state):
        return link
    if await _fetch(row, state):
        for _ in range(ROW_POLLS):  # the recorder may be a moment behind
            row = await read_again()
            if link := await _make_link(row, state):
                return link
            await asyncio.sleep(ROW_POLL_S)
    msg = "this message has no file, or its file cannot be had any more"
    raise NotFoundError(msg)


async def _find_by_external_id(
    external_id: str, organization_id: UUID, state: AppState
) -> StoredMessage:
    row: StoredMessage | None = await run_in_threadpool(
        state.database.messages.find_by_external_id, external_id, organization_id
    )
    if row is None:
        msg = "this organization has no such message"
        raise NotFoundError(msg)
    return row


async def _make_link(row: StoredMessage, state: AppState) -> FileLink | None:
    """Return a new link to a stored file, or the link that the row has; None if it is gone.

    Users may write metadata: only a path of their own organization is signed.
    """
    path = row.metadata.get("media_path")
    own = f"wpp/{row.organization_id}/"
    if isinstance(path, str) and path.startswith(own) and ".." not in path:
        url = await run_in_threadpool(state.database.storage.find_link, path)
        return FileLink(url, row.file_name, row.file_type) if url else None
    return FileLink(row.file_url, row.file_name, row.file_type) if row.file_url else None


async def _fetch(row: StoredMessage, state: AppState) -> bool:
    """Let a worker fetch a file that arrived and is not stored; return whether it is stored now."""
    content = row.metadata.get("content")
    if row.outgoing or content not in get_args(ContentType) or content in WITHOUT_FILE:
        return False
    external_id = row.external_message_id
    if row.integration_id is None or external_id is None:
        return False
    route = await senders.find_connected(row.integration_id, row.organization_id, state)
    if route is None:
        return False
    event = MediaEvent(
        id=state.event_ids.make(row.organization_id, None),
        account=route.account,
        message=MessageOutcome(
            at=row.created_at,
            id=row.id,
            account=route.account,
            outgoing=False,
            phone=str(row.metadata.get("phone") or ""),
            client_id=row.client_id,
            teacher_id=row.teacher_id,
            content=content,
            text=row.text,
            file_name=row.file_name,
            file_type=row.file_type,
            media_state="pending",
            status=row.status,
            wa_message_id=external_id,
        ),
    )
    accepted = await state.producer.append(routing.route_event(event))
    record = await wait_for_record(accepted.id, state, FETCH_WAIT_S)
    if record is None or record.state != "done":
        return False
    return await state.redis.hget(record_key(accepted.id), "media") == b"stored"

"""The message that a change means: its row, its number's route, and the ids that name it."""

import re
from dataclasses import dataclass
from typing import get_args
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from shared.database.models import StoredMessage
from shared.events import Media, MediaType, SentMedia
from shared.phones import normalize
from shared.route_cache import IntegrationRoute
from workers.ingress.deps import AppState
from workers.ingress.messages import senders
from workers.ingress.messages.rows import find_message_phone, find_row

DELETED_TEXT = "[Сообщение удалено]"
FOLLOWED_BY_CAPTION = {"video", "audio", "voice", "document"}
WA_ID = re.compile(r"(true|false)_.+@.+|[0-9A-F]{16,}")
"""Ids of WhatsApp, in contrast to the platform's task ids."""


@dataclass(frozen=True)
class Target:
    """A message with its number's route, and the ids that the platform knows it by."""

    row: StoredMessage
    route: IntegrationRoute | None
    to: str | None
    task_id: str | None
    caption_ids: tuple[str, ...]
    wa_message_id: str | None

    @property
    def is_own(self) -> bool:
        """Whether it was sent through the platform, not received and not written on the phone."""
        return self.row.outgoing and not self.is_echo

    @property
    def is_echo(self) -> bool:
        """Whether it was written on the phone."""
        return self.row.outgoing and "echo" in self.row.metadata

    @property
    def is_deleted(self) -> bool:
        return self.row.text == DELETED_TEXT

    @property
    def content(self) -> str:
        """What kind of message it is, such as `text`, `image` or `location`."""
        content = self.row.metadata.get("content")
        return content if isinstance(content, str) else "text"

    @property
    def has_file(self) -> bool:
        return self.content in get_args(MediaType)

    @property
    def media(self) -> SentMedia | None:
        """Its file, so that an edit changes the caption."""
        return _read_media(self.row) if self.has_file else None


async def find_target(message_id: UUID, organization_id: UUID, state: AppState) -> Target:
    """Return the message that a change means, also if it is not in Supabase yet.

    Raises:
        NotFoundError: the organization has no such message.
    """
    row = await find_row(message_id, organization_id, state)
    integration_id = row.integration_id or _read_uuid(row.metadata.get("integration_id"))
    route = (
        await senders.find_connected(integration_id, organization_id, state)
        if integration_id
        else await senders.find_primary(organization_id, state)
    )
    phone = await find_message_phone(row, state)
    task_id, wa_message_id = _find_ids(row)
    captions = await _find_caption_ids(row, state)
    return Target(row, route, _read_phone(phone, route), task_id, captions, wa_message_id)


async def _find_caption_ids(row: StoredMessage, state: AppState) -> tuple[str, ...]:
    """Return the platform's ids of the texts that followed a file, and of replaced texts."""
    if not row.outgoing or row.metadata.get("content") not in FOLLOWED_BY_CAPTION:
        return ()
    messages = state.database.messages
    ids = await run_in_threadpool(messages.list_external_ids, row.id, row.organization_id)
    known = {*_find_ids(row), row.external_message_id}
    return tuple(each for each in ids if each not in known and not WA_ID.fullmatch(each))


def _find_ids(row: StoredMessage) -> tuple[str | None, str | None]:
    """Return the platform's id of a message, and WhatsApp's."""
    external = row.external_message_id
    task_id, wa_message_id = _text(row, "taskId"), _text(row, "waMessageId")
    if external and (not row.outgoing or WA_ID.fullmatch(external)):
        return task_id, wa_message_id or external
    return external or task_id, wa_message_id


def _text(row: StoredMessage, name: str) -> str | None:
    value = row.metadata.get(name)
    return value if isinstance(value, str) and value else None


def _read_phone(phone: str | None, route: IntegrationRoute | None) -> str | None:
    if not phone or route is None:
        return None
    try:
        return normalize(phone, route.region)
    except ValueError:
        return None


def _read_media(row: StoredMessage) -> SentMedia | None:
    """Return the file of a message, or None where the row has no link that can be one."""
    try:
        media = Media.model_validate(
            {
                "type": row.metadata.get("content"),
                "url": row.file_url,
                "filename": row.file_name,
                "mime": row.file_type,
            }
        )
    except ValidationError:
        return None
    return SentMedia(**media.model_dump(exclude={"url"}), url=str(media.url))


def _read_uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None

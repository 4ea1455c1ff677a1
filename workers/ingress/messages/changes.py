"""Edit and delete a message, and react to one: the change follows the message in its lane.

A message is known by its row. What the platform cannot do is done to the row alone, and said so.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from shared import routing
from shared.database.models import StoredMessage
from shared.errors import NotFoundError, PipelineError
from shared.events import ChangeEvent, Media
from shared.lanes.records import Record
from shared.phones import normalize
from shared.route_cache import IntegrationRoute
from workers.ingress.deps import AppState
from workers.ingress.messages import service
from workers.ingress.messages.verdicts import wait_for_record

DELETED_TEXT = "[Сообщение удалено]"
MediaType = Literal["image", "video", "audio", "voice", "document"]
WA_ID = re.compile(r"(true|false)_.+@.+|[0-9A-F]{16,}")
"""Ids of WhatsApp, in contrast to the platform's task ids."""


class ImpossibleChangeError(PipelineError):
    """The message cannot be changed in this way, now or later."""

    code = "impossible_change"


@dataclass(frozen=True)
class ChangeResult:
    """What became of a change. `done`: the platform has carried it out. `error`: it will not."""

    done: bool
    task_id: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Target:
    """A message with its number's route, and the ids that the platform knows it by."""

    row: StoredMessage
    route: IntegrationRoute | None
    to: str | None
    task_id: str | None
    wa_message_id: str | None

    @property
    def is_own(self) -> bool:
        """Whether it was sent through the platform, not received and not written on the phone."""
        return self.row.outgoing and "echo" not in self.row.metadata


async def edit_message(
    message_id: UUID, text: str, organization_id: UUID, key: str | None, state: AppState
) -> ChangeResult:
    """Replace a message by a new text: it is deleted and sent anew, under the same row.

    Raises:
        NotFoundError: the organization has no such message.
        ImpossibleChangeError: it was not sent through the platform, or its number is gone.
    """
    target = await _find_target(message_id, organization_id, state)
    if not target.is_own or target.row.text == DELETED_TEXT:
        msg = "only a message that was sent through this server can be edited"
        raise ImpossibleChangeError(msg)
    if target.route is None or target.to is None:
        msg = "the number that sent this message is no longer connected"
        raise ImpossibleChangeError(msg)
    media = _read_media(target.row)
    change = {"action": "edit", "text": text, "media": media}
    return _read_result(await _carry_out(target, target.route, change, key, state))


async def delete_message(message_id: UUID, organization_id: UUID, state: AppState) -> ChangeResult:
    """Delete a message for both sides, and show its row as deleted.

    A message that was received, or written on the phone, is deleted in its row only.

    Raises:
        NotFoundError: the organization has no such message.
    """
    target = await _find_target(message_id, organization_id, state)
    result = ChangeResult(done=False)
    if target.is_own and target.route and target.to and target.row.text != DELETED_TEXT:
        key = f"delete:{message_id}:{target.task_id}"
        result = _read_result(
            await _carry_out(target, target.route, {"action": "delete"}, key, state)
        )
    if result.error is None:
        messages = state.database.messages
        await run_in_threadpool(messages.mark_deleted, message_id, organization_id)
    return result


async def react(
    message_id: UUID, emoji: str, organization_id: UUID, state: AppState
) -> ChangeResult:
    """React to a message as the organization's phone.

    Raises:
        NotFoundError: the organization has no such message.
    """
    target = await _find_target(message_id, organization_id, state)
    if target.wa_message_id is None or target.route is None or target.to is None:
        return ChangeResult(done=False, error="WhatsApp's id of this message is not known")
    change = {"action": "react", "emoji": emoji}
    return _read_result(await _carry_out(target, target.route, change, None, state))


async def _carry_out(
    target: _Target,
    route: IntegrationRoute,
    change: dict[str, Any],
    key: str | None,
    state: AppState,
) -> Record | None:
    """Append a change to the lane of its conversation; return its record after a while."""
    event = ChangeEvent(
        id=state.event_ids.make(target.row.organization_id, key),
        organization_id=target.row.organization_id,
        integration_id=route.id,
        to=target.to or "",
        message_id=target.row.id,
        task_id=target.task_id,
        wa_message_id=target.wa_message_id,
        **change,
    )
    # The ids of the message change with it: a repeated request is the same by its key alone.
    accepted = await state.producer.append(routing.route_event(event, key))
    return await wait_for_record(accepted.id, state)


def _read_result(record: Record | None) -> ChangeResult:
    if record is None or record.state not in {"done", "failed"}:
        return ChangeResult(done=False)
    if record.state == "failed":
        return ChangeResult(done=False, error=record.reason or "the platform refused it")
    return ChangeResult(done=record.code != "gone", task_id=record.task_id)


async def _find_target(message_id: UUID, organization_id: UUID, state: AppState) -> _Target:
    row = await run_in_threadpool(state.database.messages.get, message_id, organization_id)
    if row is None:
        msg = f"no message {message_id} in this organization"
        raise NotFoundError(msg)
    integration_id = row.integration_id or _read_uuid(row.metadata.get("integration_id"))
    route = (
        await service.find_connected(integration_id, organization_id, state)
        if integration_id
        else await service.find_primary(organization_id, state)
    )
    phone = await _find_phone(row, state)
    task_id, wa_message_id = _find_ids(row)
    return _Target(row, route, _read_phone(phone, route), task_id, wa_message_id)


async def _find_phone(row: StoredMessage, state: AppState) -> str | None:
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


def _read_media(row: StoredMessage) -> Media | None:
    """Return the file of a message, so that an edit changes its caption."""
    content = row.metadata.get("content")
    if not row.file_url or content not in get_args(MediaType):
        return None
    try:
        return Media.model_validate(
            {
                "type": content,
                "url": row.file_url,
                "filename": row.file_name,
                "mime": row.file_type,
            }
        )
    except ValidationError:
        return None


def _read_uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None

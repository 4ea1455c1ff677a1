"""Edit and delete a message, and react to one: the change follows the message in its lane.

A message is known by its row. What the platform cannot do is done to the row alone, and said so.
"""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared import routing
from shared.errors import ImpossibleChangeError, NotFoundError, NotWaitingError
from shared.events import ChangeEvent
from shared.lanes.records import Record
from shared.lanes.wire import fingerprint
from workers.ingress.deps import AppState
from workers.ingress.messages.cancellation import cancel_message
from workers.ingress.messages.change_targets import Target, find_target
from workers.ingress.messages.verdicts import VERDICT_WAIT_S, wait_for_record

SENT = ("sent", "delivered", "read", "deleted", "unknown")
ROW_POLLS, ROW_POLL_S = 10, 0.2
NOT_KNOWN = "the platform has no such message: it was not sent, or is gone already"
NOT_REPORTED = "the platform has not reported WhatsApp's id of this message"


@dataclass(frozen=True)
class ChangeRequest:
    """Who asks for a change of which message, and how long the answer may take."""

    message_id: UUID
    organization_id: UUID
    key: str | None = None
    """The Idempotency-Key: a repeated request is the same change."""
    wait_s: float = VERDICT_WAIT_S


@dataclass(frozen=True)
class ChangeResult:
    """What became of a change.

    `done`: the platform has carried it out. `waits`: it will be tried later. `error`: it will not,
    or not by the platform. `replayed`: this repeats an earlier request.
    """

    done: bool
    waits: bool = False
    task_id: str | None = None
    error: str | None = None
    replayed: bool = False
    cancelled: bool = False
    """It is deleted before it was sent."""


async def edit_message(request: ChangeRequest, text: str, state: AppState) -> ChangeResult:
    """Replace a message by a new text: it is deleted and sent anew, under the same row.

    Raises:
        NotFoundError: the organization has no such message.
        ImpossibleChangeError: it was not sent through the platform, has no text, or its number is
            gone.
    """
    target = await find_target(request.message_id, request.organization_id, state)
    if fault := _why_not_edited(target):
        raise ImpossibleChangeError(fault)
    change = {"action": "edit", "text": text, "media": target.media}
    return await _carry_out(request, target, change, state)


async def delete_message(request: ChangeRequest, state: AppState) -> ChangeResult:
    """Delete a message for both sides, and show its row as deleted. One that waits is cancelled.

    A message that was received, or written on the phone, is deleted in its row only: the result is
    not `done`, and `error` says why.

    Raises:
        NotFoundError: the organization has no such message.
        ImpossibleChangeError: the platform refused; the row is as it was.
    """
    target = await find_target(request.message_id, request.organization_id, state)
    local = _why_local(target)
    if await _cancel(target, state):
        result = ChangeResult(done=True, cancelled=True)
    elif local is None:
        result = await _carry_out(request, target, {"action": "delete"}, state)
        if result.error:
            raise ImpossibleChangeError(result.error)
        if not result.done and not result.waits:
            is_deleted = target.row.status == "deleted"
            local = None if is_deleted else NOT_KNOWN
            result = ChangeResult(is_deleted, error=local, replayed=result.replayed)
    else:
        result = ChangeResult(done=False, error=local)
    await _show_deleted(request, state)
    return result


async def react(request: ChangeRequest, emoji: str, state: AppState) -> ChangeResult:
    """React to a message as the organization's phone, or take the reaction back (empty `emoji`).

    Raises:
        NotFoundError: the organization has no such message.
    """
    target = await find_target(request.message_id, request.organization_id, state)
    if target.wa_message_id is None:
        return ChangeResult(done=False, error=NOT_REPORTED)
    if target.route is None or target.to is None:
        return ChangeResult(done=False, error="the number of this message is no longer connected")
    change = {"action": "react", "emoji": emoji}
    return await _carry_out(request, target, change, state)


async def _show_deleted(request: ChangeRequest, state: AppState) -> None:
    """Show the row as deleted; the recorder may be a moment behind with it."""
    mark = state.database.messages.mark_deleted
    for _ in range(ROW_POLLS):
        if await run_in_threadpool(mark, request.message_id, request.organization_id):
            return
        await asyncio.sleep(ROW_POLL_S)


async def _cancel(target: Target, state: AppState) -> bool:
    """Cancel a message that waits in its lane or for its date; return whether it never goes out."""
    if not target.is_own or target.row.status in SENT:
        return False
    try:
        await cancel_message(target.row.id, target.row.organization_id, state)
    except (NotFoundError, NotWaitingError):
        return False
    return True


def _why_not_edited(target: Target) -> str | None:
    """Return why a message cannot be edited, or None."""
    if not target.is_own or target.is_deleted:
        return "only a message that was sent through this server can be edited"
    if target.route is None or target.to is None:
        return "the number that sent this message is no longer connected"
    if target.row.status == "unknown":
        return "whether this message was sent is not known yet: resolve it first"
    if target.content != "text" and not target.has_file:
        return f"only a text or a caption can be edited, and this is a {target.content}"
    if target.has_file and target.media is None:
        return "the link to the file of this message is gone, so it cannot be sent anew"
    return None


def _why_local(target: Target) -> str | None:
    """Return why a message can be deleted in its row only; None if the platform can do it."""
    if not target.row.outgoing:
        return "WhatsApp lets only the sender delete a message for everyone"
    if target.is_echo:
        return "it was written on the phone, and the platform deletes only what it has sent"
    if target.route is None or target.to is None:
        return "the number that sent it is no longer connected"
    return None


async def _carry_out(
    request: ChangeRequest, target: Target, change: dict[str, Any], state: AppState
) -> ChangeResult:
    """Append a change to the lane of its conversation; return what became of it after a while."""
    assert target.route  # noqa: S101 - the callers have looked
    event = ChangeEvent(
        id=state.event_ids.make(request.organization_id, request.key),
        organization_id=request.organization_id,
        integration_id=target.route.id,
        to=target.to or "",
        message_id=target.row.id,
        task_id=target.task_id,
        caption_ids=target.caption_ids,
        wa_message_id=target.wa_message_id,
        **change,
    )
    # Ids, file and number of the message change with time: they are no part of the request.
    asked = {name: value for name, value in change.items() if name != "media"}
    printed = fingerprint({"message_id": str(request.message_id), **asked})
    accepted = await state.producer.append(routing.route_event(event, printed))
    record = await wait_for_record(accepted.id, state, request.wait_s)
    return _read_result(record, replayed=not accepted.new)


def _read_result(record: Record | None, *, replayed: bool) -> ChangeResult:
    if record is None or record.state not in {"done", "failed"}:
        return ChangeResult(done=False, waits=True, replayed=replayed)
    if record.state == "failed":
        reason = record.reason or "the platform refused it"
        return ChangeResult(done=False, error=reason, replayed=replayed)
    return ChangeResult(record.code != "gone", task_id=record.task_id, replayed=replayed)

"""Changes of a message: delete it, react to it, or edit it.

The platform cannot edit. An edit deletes the message and sends another one, which has the same row.
"""

from typing import Any

import structlog

from shared.errors import (
    IntegrationNotFoundError,
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    NotSentError,
    PipelineError,
    PlatformError,
    RefusedError,
    TokenPausedError,
    UnauthorizedError,
)
from shared.events import ChangeEvent, SendEvent, utc_now
from shared.http.deadline import within
from shared.lanes.records import find_record
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.outcomes import EditOutcome, ReactionOutcome, StatusOutcome
from shared.platform.account import PlatformAccount
from shared.platform.payloads import build_caption
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.retry import EVENT_BACKOFF
from workers.send import rate_limits
from workers.send.handler import wait_for_turn

DELETED = "deleted"
GONE = "gone"
"""Codes of a delete: the platform deleted the message, or did not know it."""
CURRENT_TASK_S = 8 * 86_400
"""Longer than a change waits in its lane, and than the recorder is behind."""

log = structlog.get_logger()


def handle_change(event: ChangeEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Carry out a change within its lease."""
    route = ctx.route_cache.find_route(event.integration_id)
    if route is None or route.organization_id != event.organization_id:
        missing = IntegrationNotFoundError(event.integration_id)
        return dead_letter_change(event, claim, missing.code, str(missing))
    if event.action == "edit":
        postponed = wait_for_turn(_as_message(event), claim, route, ctx)
        if postponed:
            return postponed
    account = ctx.as_account(route.account)
    try:
        with within(claim.left_s):
            if event.action == "react":
                return _react(event, account, route)
            task_id = _find_task_id(event, ctx)
            for caption_id in _find_caption_ids(event, ctx):
                account.delete(caption_id)
            if event.action == "delete":
                return _delete(event, task_id, account, route, ctx)
            return _replace(event, task_id, account, route, ctx)
    except PlatformError as error:
        return _handle_platform_error(event, claim, error, route, ctx)


def dead_letter_change(event: ChangeEvent, claim: Claim, reason: str, detail: str) -> Settled:
    """Settle a change as failed; a reaction leaves no dead letter, as it would come too late."""
    letters = [] if event.action == "react" else [build_dead_letter(event, claim, reason, detail)]
    return Settled("failed", letters, {"reason": detail, "code": reason})


def settle_in_doubt(reason: str) -> Settled:
    """Settle an edit whose new text may have gone out: without a dead letter that repeats it."""
    detail = f"the new text may or may not have been sent: {reason}"
    return Settled("failed", [], {"reason": detail, "code": "unknown"})


def _react(event: ChangeEvent, account: PlatformAccount, route: IntegrationRoute) -> Settled:
    """React to a message, or take the reaction back where `emoji` is empty."""
    wa_message_id = event.wa_message_id or ""
    account.react(event.to, wa_message_id, event.emoji)
    outcome = ReactionOutcome(
        at=utc_now(),
        account=route.account,
        external_ids=[wa_message_id],
        outgoing=True,
        phone=event.to,
        emoji=event.emoji or None,
    )
    return Settled("done", [outcome] if wa_message_id else [])


def _delete(
    event: ChangeEvent,
    task_id: str | None,
    account: PlatformAccount,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> Settled:
    if task_id == "":
        return Settled("done", [], {"code": DELETED})
    is_deleted = task_id is not None and account.delete(task_id)
    _remember_task_id(event, "", ctx)
    if task_id is None or not is_deleted:
        return Settled("done", [], {"code": GONE})
    outcome = StatusOutcome(
        at=utc_now(), account=route.account, external_ids=[task_id], status="deleted", own=True
    )
    return Settled("done", [outcome], {"code": DELETED})


def _replace(
    event: ChangeEvent,
    task_id: str | None,
    account: PlatformAccount,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> Settled:
    """Delete a message and send its new text; an earlier attempt may have deleted it.

    The file of a caption that is a text of its own stays: only the caption is new.
    """
    if not task_id:
        code = "never_sent" if task_id is None else DELETED
        why = "has not been sent" if task_id is None else "was deleted"
        return Settled("failed", [], {"reason": f"the message {why}: no edit", "code": code})
    message = _as_message(event)
    caption = build_caption(message)
    if not caption:
        account.delete(task_id)
    try:
        sent = account.send_text(message, caption) if caption else account.send(message)
        rate_limits.report_taken(ctx.redis, message)
        if sent.task_id and caption:
            ctx.redis.set(keys.current_caption(event.message_id), sent.task_id, ex=CURRENT_TASK_S)
        elif sent.task_id:
            _remember_task_id(event, sent.task_id, ctx)
    except PipelineError:
        raise
    except Exception as error:
        log.exception("send.failed")
        return settle_in_doubt(f"internal error during or after the call: {type(error).__name__}")
    outcome = EditOutcome(
        at=utc_now(),
        account=route.account,
        external_ids=[task_id, sent.task_id] if caption and sent.task_id else [task_id],
        own=True,
        text=event.text,
        task_id=None if caption else sent.task_id,
    )
    new_id = task_id if caption else sent.task_id
    return Settled("done", [outcome], {"task_id": new_id} if new_id else {})


def _as_message(event: ChangeEvent) -> SendEvent:
    return SendEvent(
        id=event.id,
        accepted_at=event.accepted_at,
        organization_id=event.organization_id,
        integration_id=event.integration_id,
        to=event.to,
        text=event.text,
        media=event.media,
    )


def _find_task_id(event: ChangeEvent, ctx: WorkerContext) -> str | None:
    """Return the platform's id of the message after all changes before this one.

    Empty: one of them deleted it. The message itself may have stood before its change in the lane.
    """
    last: Any = ctx.redis.get(keys.current_task(event.message_id))
    if last is not None:
        return str(last.decode())
    if event.task_id:
        return event.task_id
    record = find_record(ctx.redis, event.message_id)
    return record.task_id if record else None


def _find_caption_ids(event: ChangeEvent, ctx: WorkerContext) -> tuple[str, ...]:
    """Return the platform's ids of the caption of a file, after all changes before this one."""
    if event.media is None and not event.caption_ids and event.task_id:
        return ()
    last: Any = ctx.redis.get(keys.current_caption(event.message_id))
    if last is not None:
        return (last.decode(),)
    if event.task_id:
        return event.caption_ids
    record = find_record(ctx.redis, event.message_id)
    return (record.caption_task_id,) if record and record.caption_task_id else ()


def _remember_task_id(event: ChangeEvent, task_id: str, ctx: WorkerContext) -> None:
    ctx.redis.set(keys.current_task(event.message_id), task_id, ex=CURRENT_TASK_S)


def _handle_platform_error(
    event: ChangeEvent,
    claim: Claim,
    error: PlatformError,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> ClaimResult:
    """Return what a failed call means; deletes and reactions may be repeated without harm."""
    match error:
        case InvalidApiKeyError() | NotConnectedError() | TokenPausedError():
            gates.close_integration_gate(error, route, ctx)
            return Postponed(0, str(error))
        case LimitedError():
            gates.close_limited_gate(error, route, ctx)
            return Postponed(error.retry_after_s, str(error))
        case NotSentError() | UnauthorizedError():
            gates.close_breaker_gate(route, ctx)
            return Postponed(EVENT_BACKOFF.after(claim.attempts), str(error))
        case RefusedError():
            return dead_letter_change(event, claim, "refused", str(error))
        case _ if event.action == "edit":
            return settle_in_doubt(str(error))
        case _:
            return Postponed(EVENT_BACKOFF.after(claim.attempts), str(error))

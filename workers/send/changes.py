"""Changes of a message: delete it, react to it, or edit it.

The platform cannot edit. An edit deletes the message and sends another one, which has the same row.
"""

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
from shared.outcomes import EditOutcome, StatusOutcome
from shared.platform.account import PlatformAccount
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

log = structlog.get_logger()


def handle_change(event: ChangeEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Carry out a change within its lease."""
    route = ctx.route_cache.find_route(event.integration_id)
    if route is None or route.organization_id != event.organization_id:
        missing = IntegrationNotFoundError(event.integration_id)
        return dead_letter_change(event, claim, missing.code, str(missing))
    if event.action == "edit" and (postponed := wait_for_turn(_as_message(event), ctx)):
        return postponed
    account = ctx.as_account(route.account)
    try:
        with within(claim.left_s):
            if event.action == "react":
                account.react(event.to, event.wa_message_id or "", event.emoji)
                return Settled("done")
            task_id = event.task_id or _find_task_id(event, ctx)
            if event.action == "delete":
                return _delete(task_id, account, route)
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


def _delete(task_id: str | None, account: PlatformAccount, route: IntegrationRoute) -> Settled:
    if task_id is None or not account.delete(task_id):
        return Settled("done", [], {"code": GONE})
    outcome = StatusOutcome(
        at=utc_now(), account=route.account, external_ids=[task_id], status="deleted"
    )
    return Settled("done", [outcome], {"code": DELETED})


def _replace(
    event: ChangeEvent,
    task_id: str | None,
    account: PlatformAccount,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> Settled:
    """Delete a message and send its new text; an earlier attempt may have deleted it."""
    if task_id is None:
        detail = "the message was never sent, so it cannot be edited"
        return Settled("failed", [], {"reason": detail, "code": "never_sent"})
    account.delete(task_id)
    try:
        sent = account.send(_as_message(event))
        rate_limits.report_taken(ctx.redis, _as_message(event))
    except PipelineError:
        raise
    except Exception as error:
        log.exception("send.failed")
        return settle_in_doubt(f"internal error during or after the call: {type(error).__name__}")
    outcome = EditOutcome(
        at=utc_now(),
        account=route.account,
        external_ids=[task_id],
        text=event.text,
        task_id=sent.task_id,
    )
    return Settled("done", [outcome], {"task_id": sent.task_id} if sent.task_id else {})


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
    """Return the platform's id of the message, which stood before its change in the lane."""
    record = find_record(ctx.redis, event.message_id)
    return record.task_id if record else None


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

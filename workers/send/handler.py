"""Sends a message: it ends as sent, failed or unknown, or is postponed when it was not sent."""

import structlog

from shared import routing
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
from shared.events import SendEvent, utc_now
from shared.http.deadline import within
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.platform.models import SendResult
from shared.platform.payloads import build_caption
from shared.route_cache import IntegrationRoute
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.retry import EVENT_BACKOFF
from workers.send import captions, missing_routes, pacing, rate_limits
from workers.send.attempts import note_attempt
from workers.send.files import UnusableFileError, prepare_file
from workers.send.in_doubt import settle_as_unknown, settle_resent

log = structlog.get_logger()


def handle_send(event: SendEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Send a message within its lease: after that, another worker may send the next message."""
    route = ctx.route_cache.find_route(event.integration_id)
    if route is None or route.organization_id != event.organization_id:
        missing = IntegrationNotFoundError(event.integration_id)
        return dead_letter_send(event, claim, missing.code, str(missing))
    if not route.is_enabled:
        return dead_letter_send(
            event, claim, "disabled", f"the integration {route.name!r} is disabled"
        )
    try:
        prepared = prepare_file(event, claim, ctx)
    except UnusableFileError as error:
        return dead_letter_send(event, claim, "file_unusable", str(error))
    if isinstance(prepared, Postponed):
        return prepared
    return _send_in_turn(prepared, claim, route, ctx)


def _send_in_turn(
    event: SendEvent, claim: Claim, route: IntegrationRoute, ctx: WorkerContext
) -> ClaimResult:
    if not claim.file_task and (postponed := wait_for_turn(event, claim, route, ctx)):
        return postponed  # a caption follows its file at once
    started_at = utc_now()
    return note_attempt(event, claim, started_at, _call_platform(event, claim, route, ctx))


def _call_platform(
    event: SendEvent, claim: Claim, route: IntegrationRoute, ctx: WorkerContext
) -> ClaimResult:
    """Send a message, or the caption of a file that went out at an earlier claim."""
    account = ctx.as_account(route.account)
    caption = build_caption(event)
    try:
        with within(claim.left_s):
            sent = account.send_text(event, caption) if claim.file_task else account.send(event)
        rate_limits.report_taken(ctx.redis, event)
    except PlatformError as error:
        if not isinstance(error, NotSentError):
            rate_limits.report_taken(ctx.redis, event)
        result = handle_platform_error(event, claim, error, route, ctx)
        pacing.keep_turn(event, result, route, ctx)
        return result
    except PipelineError:
        raise  # no token could be had, so the platform was not called
    except Exception as error:
        log.exception("send.failed")
        reason = f"internal error during or after the call: {type(error).__name__}"
        return settle_as_unknown(event, claim, reason, route)
    if claim.file_task:
        return captions.settle_with_caption(event, claim, sent)
    if caption:
        return captions.let_caption_follow(event, sent)
    return _settle_as_sent(event, sent, ctx)


def _settle_as_sent(event: SendEvent, sent: SendResult, ctx: WorkerContext) -> Settled:
    outcome = routing.build_message_outcome(event, "sent", utc_now(), task_id=sent.task_id)
    fields = {"task_id": sent.task_id} if sent.task_id else {}
    if sent.substitute:
        metadata = {**outcome.metadata, "substitutes": [sent.substitute]}
        outcome = outcome.model_copy(update={"metadata": metadata})
        missing_routes.remember_location(ctx.redis)
    return Settled("sent", [outcome], fields)


def wait_for_turn(
    event: SendEvent, claim: Claim, route: IntegrationRoute, ctx: WorkerContext
) -> Postponed | None:
    """Postpone a message whose number is paced, or limited by the platform, until its turn."""
    if postponed := pacing.take_turn(event, claim, route, ctx):
        return postponed
    if wait_s := rate_limits.acquire(ctx.redis, event):
        reason = "waits for the rate of its number: the platform limits it (429)"
        limited = Postponed(wait_s, reason, unstarted=True)
        pacing.keep_turn(event, limited, route, ctx)
        return limited
    return None


def handle_platform_error(
    event: SendEvent,
    claim: Claim,
    error: PlatformError,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> ClaimResult:
    """Return what a failed call means for its message.

    An error that proves that the platform did not take the message leads to another attempt. A
    refusal ends it as failed. After all remaining errors, its delivery is unknown.
    """
    match error:
        case InvalidApiKeyError() | NotConnectedError() | TokenPausedError():
            gates.close_integration_gate(error, route, ctx)
            return Postponed(0, str(error))
        case LimitedError():
            rate_limits.report_refused(ctx.redis, event, error)
            gates.close_limited_gate(error, route, ctx)
            return Postponed(error.retry_after_s, str(error))
        case NotSentError() | UnauthorizedError():
            gates.close_breaker_gate(route, ctx)
            retry_after_s = getattr(error, "retry_after_s", None) or 0
            wait_s = max(retry_after_s, EVENT_BACKOFF.after(claim.attempts))
            return Postponed(wait_s, str(error))
        case RefusedError():
            return dead_letter_send(event, claim, "refused", str(error))
        case _:
            return settle_as_unknown(event, claim, str(error), route)


def dead_letter_send(event: SendEvent, claim: Claim, reason: str, detail: str) -> ClaimResult:
    """Settle a message as failed, with a dead letter that can be replayed.

    A message that was sent again, because its delivery was unknown, ends as unknown: an earlier
    attempt may have gone out, and a replay would send it once more.
    """
    if claim.resends:
        return settle_resent(event, detail)
    if claim.file_task:
        return captions.settle_without_caption(event, claim, reason, detail)
    outcomes = (
        routing.build_message_outcome(event, "failed", utc_now(), error=detail, code=reason),
        build_dead_letter(event, claim, reason, detail),
    )
    return Settled("failed", outcomes, {"reason": detail, "code": reason})

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
from shared.route_cache import IntegrationRoute
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.retry import EVENT_BACKOFF
from workers.send import pacing, rate_limits
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
    if postponed := wait_for_turn(event, ctx):
        return postponed
    try:
        with within(claim.left_s):
            sent = ctx.as_account(route.account).send(event)
        rate_limits.report_taken(ctx.redis, event)
    except PlatformError as error:
        if not isinstance(error, NotSentError):
            rate_limits.report_taken(ctx.redis, event)
        return handle_platform_error(event, claim, error, route, ctx)
    except PipelineError:
        raise  # no token could be had, so the platform was not called
    except Exception as error:
        log.exception("send.failed")
        reason = f"internal error during or after the call: {type(error).__name__}"
        return settle_as_unknown(event, claim, reason, route)
    outcome = routing.build_message_outcome(event, "sent", utc_now(), task_id=sent.task_id)
    return Settled("sent", [outcome], {"task_id": sent.task_id} if sent.task_id else {})


def wait_for_turn(event: SendEvent, ctx: WorkerContext) -> Postponed | None:
    """Postpone a message whose number is paced, or limited by the platform, until its turn."""
    if wait_s := pacing.take_slot(ctx.redis, event, ctx.engine.wpp_pace_s):
        return Postponed(wait_s, "paced: waits for the integration's send slot (WPP_PACE_S)")
    if wait_s := rate_limits.acquire(ctx.redis, event):
        reason = "waits for the rate of its number: the platform limits it (429)"
        return Postponed(wait_s, reason, unstarted=True)
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
    outcomes = (
        routing.build_message_outcome(event, "failed", utc_now(), error=detail),
        build_dead_letter(event, claim, reason, detail),
    )
    return Settled("failed", outcomes, {"reason": detail, "code": reason})

"""Sends: one message to the platform, settled as sent, failed or unknown, or tried again when it proved not sent."""

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
from shared.lanes.client import Claim, ClaimResult, Postponed, Settled
from shared.route_cache import IntegrationRoute
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.retry import EVENT_BACKOFF
from workers.send import pacing
from workers.send.in_doubt import settle_as_unknown

log = structlog.get_logger()


def handle_send(event: SendEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Send one message, and say what is known of it."""
    route = ctx.route_cache.find_route(event.integration_id)
    if route is None or route.organization_id != event.organization_id:
        error = IntegrationNotFoundError(event.integration_id)
        return dead_letter_send(event, claim, error.code, str(error))
    if not route.is_enabled:
        return dead_letter_send(
            event, claim, "disabled", f"the integration {route.name!r} is switched off"
        )
    if wait_s := ctx.engine.wpp_pace_s and pacing.wait_s(ctx.redis, event, ctx.engine.wpp_pace_s):
        return Postponed(wait_s, "its number pauses between two messages, as WPP_PACE_S says")
    try:
        with within(
            claim.left_s
        ):  # later it would be somebody else's turn, and the next message might be out already
            sent = ctx.as_account(route.account).send(event)
    except PlatformError as error:
        return after(event, claim, error, route, ctx)
    except PipelineError:
        raise  # no token was to be had: nothing has left
    except Exception as error:
        log.exception("send.surprise")
        return settle_as_unknown(
            event,
            claim,
            f"an error on our side while the platform was asked: {type(error).__name__}",
            route,
        )
    outcome = routing.build_message_outcome(event, "sent", utc_now(), task_id=sent.task_id)
    return Settled("sent", [outcome], {"task_id": sent.task_id} if sent.task_id else {})


def after(
    event: SendEvent,
    claim: Claim,
    error: PlatformError,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> ClaimResult:
    """Say what a failed call means for its message.

    Whatever proves that the platform has not taken it leads to another try; whatever leaves that open ends as
    `unknown`, which nobody repeats by itself: only proof allows a second attempt.
    """
    match error:
        case InvalidApiKeyError() | NotConnectedError() | TokenPausedError():
            gates.gate_of_integration(error, route, ctx)
            return Postponed(0, str(error))
        case LimitedError():
            return Postponed(error.retry_after_s, str(error))
        case NotSentError() | UnauthorizedError():
            gates.while_open(ctx)
            told_s = getattr(error, "retry_after_s", None) or 0
            return Postponed(max(told_s, EVENT_BACKOFF.after(claim.attempts)), str(error))
        case RefusedError():
            return dead_letter_send(event, claim, "refused", str(error))
        case _:
            return settle_as_unknown(event, claim, str(error), route)


def dead_letter_send(event: SendEvent, claim: Claim, reason: str, detail: str) -> ClaimResult:
    """End a message without success: its row says failed, and a dead letter keeps it for a replay."""
    outcomes = (
        routing.build_message_outcome(event, "failed", utc_now(), error=detail),
        build_dead_letter(event, claim, reason, detail),
    )
    return Settled("failed", outcomes, {"reason": detail, "code": reason})

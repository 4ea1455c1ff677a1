"""Handle a callback event: post it, record the attempt, and try again later if it failed.

A post whose receiver took it and whose worker died is posted again with the same `webhook-id`. A
failing receiver closes the gate of its callback: a single post tests it, and its further posts wait
in order. What a receiver refuses (4xx) holds its own conversation only.
"""

import time
from datetime import UTC, datetime

import structlog

from shared import metrics
from shared.callbacks import Callback, CallbackHealth, PostAttempt, build_headers, pause_after
from shared.errors import DatabaseError
from shared.events import CallbackEvent, utc_now
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.routing import callback_gate
from workers.callback.context import CallbackContext
from workers.callback.poster import Answer
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter

PAUSED_S = 30.0
"""How often it is looked whether a disabled callback is enabled again."""
MIN_GATE_S = 5.0
MAX_GATE_S = 300.0
"""How long the gate of a failing callback stays closed: a tenth of the time that it has failed."""
MAX_RETRY_AFTER_S = 3600.0
MIN_LEFT_S = 16.0
"""A post begins only if the lease lasts longer than its time limit."""

log = structlog.get_logger()


def handle_callback(
    event: CallbackEvent, claim: Claim, ctx: WorkerContext, ours: CallbackContext
) -> ClaimResult:
    """Post an event to its callback."""
    callback = ours.find(event.callback_id, event.organization_id)
    if callback is None:
        return Settled("done", fields={"reason": "the callback was deleted"})
    if not callback.is_enabled and event.number is not None:
        reason = f"the callback is disabled: {callback.disabled_reason or 'by its owner'}"
        ctx.lanes.close_gate(callback_gate(callback.id), PAUSED_S, reason)
        return Postponed(PAUSED_S, reason, unstarted=True)
    if claim.left_s < MIN_LEFT_S:
        return Postponed(0, "the lease is about to end", unstarted=True)
    answer = _post(event, callback, ours)
    if answer.is_success:
        _record(event, claim, answer, "delivered", ours)
        return Settled("done")
    pause_s = pause_after(claim.attempts) if event.number is not None else None
    if pause_s is None:
        _record(event, claim, answer, "given_up", ours)
        return Settled("done", fields={"reason": answer.error or ""})
    health = _record(event, claim, answer, "failed", ours)
    if answer.is_about_the_receiver:
        _close_gate(callback, answer, health, ctx)
    return Postponed(max(pause_s, _retry_after_s(answer)), answer.error or "")


def dead_letter_callback(
    event: CallbackEvent, claim: Claim, reason: str, detail: str, ours: CallbackContext
) -> ClaimResult:
    """End a post that is too old; one that met a bug becomes a dead letter as well."""
    _record(event, claim, Answer(None, 0, detail), "given_up", ours)
    fields = {"reason": detail, "code": reason}
    if reason == "expired":
        return Settled("done", fields=fields)
    return Settled("failed", [build_dead_letter(event, claim, reason, detail)], fields)


def _post(event: CallbackEvent, callback: Callback, ours: CallbackContext) -> Answer:
    body = event.body.encode()
    signing = callback.valid_secrets(utc_now())
    headers = build_headers(signing, event.webhook_id, int(time.time()), body)
    return ours.poster.post(callback.url, headers, body)


def _record(
    event: CallbackEvent,
    claim: Claim,
    answer: Answer,
    outcome: str,
    ours: CallbackContext,
) -> CallbackHealth | None:
    """Record an attempt, and tell what it means. Without Supabase it is missing in the log."""
    metrics.count("wpp_callback_posts_total", outcome)
    about = {"callback_id": str(event.callback_id), "organization_id": str(event.organization_id)}
    if outcome == "given_up":
        log.warning("callback.given_up", webhook_id=event.webhook_id, reason=answer.error, **about)
    attempt = PostAttempt.model_validate(
        {
            "organization_id": event.organization_id,
            "callback_id": event.callback_id,
            "event_id": event.number,
            "webhook_id": event.webhook_id,
            "type": event.type,
            "attempt": claim.attempts,
            "outcome": outcome,
            "status": answer.status,
            "duration_ms": answer.duration_ms,
            "error": (answer.error or "")[:500] or None,
        }
    )
    try:
        health = ours.database.callbacks.record(attempt, ours.patience)
    except DatabaseError as error:
        log.warning("callback.not_recorded", error=str(error), **about)
        return None
    if health and health.disabled:
        log.warning("callback.disabled", reason=health.disabled, **about)
        ours.forget(event.callback_id)
    return health


def _close_gate(
    callback: Callback, answer: Answer, health: CallbackHealth | None, ctx: WorkerContext
) -> None:
    failing_s = 0.0
    if health and health.failing_since:
        failing_s = (datetime.now(UTC) - health.failing_since).total_seconds()
    seconds = min(MAX_GATE_S, max(MIN_GATE_S, failing_s / 10, _retry_after_s(answer)))
    ctx.lanes.close_gate(callback_gate(callback.id), seconds, answer.error or "")


def _retry_after_s(answer: Answer) -> float:
    return min(MAX_RETRY_AFTER_S, answer.retry_after_s or 0.0)

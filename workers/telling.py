"""Tells how events end: the lanes call `tell_end` once for each result that counted."""

import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from shared import metrics
from shared.lanes.types import Claim, ClaimResult, Settled
from shared.outcomes import DeadLetterOutcome, MessageOutcome, StatusOutcome
from shared.transitions import tell

EXPIRED = "expired"
"""Code of an event that could not be done in time."""


def tell_end(claim: Claim, result: ClaimResult) -> None:
    """Tell and measure the end of an event; an event that is postponed goes on."""
    if not isinstance(result, Settled):
        return
    age_s = time.time() - claim.accepted_ms / 1000
    if result.state == "sent":
        metrics.observe("wpp_message_sent_seconds", age_s)
    elif claim.queue == "webhook":
        metrics.observe("wpp_webhook_handled_seconds", age_s)
    if claim.queue == "send":
        _tell_message(claim, result)
    elif result.state == "failed":
        tell("event.dead_lettered", kind=claim.queue, **_describe(claim, result))
    elif claim.queue == "webhook":
        _tell_arrivals(result.outcomes)


def _tell_message(claim: Claim, result: Settled) -> None:
    about = _describe(claim, result)
    match result.state:
        case "sent":
            tell("message.sent", **about)
        case "unknown":
            tell("message.unknown", **about)
        case "failed" if about["code"] == EXPIRED:
            tell("message.expired", **about)
        case "failed":
            tell("message.failed", **about)


def _describe(claim: Claim, result: Settled) -> dict[str, Any]:
    about: dict[str, Any] = {
        "event_id": str(claim.id),
        "lane": claim.lane,
        "attempts": claim.attempts,
        "code": result.fields.get("code"),
        "reason": result.fields.get("reason"),
    }
    for outcome in result.outcomes:
        if isinstance(outcome, MessageOutcome | DeadLetterOutcome):
            about |= _find_owner(outcome)
    return about


def _find_owner(outcome: MessageOutcome | DeadLetterOutcome) -> dict[str, str]:
    names = ("organization_id", "integration_id", "account")
    return {name: str(value) for name in names if (value := getattr(outcome, name, None))}


def _tell_arrivals(outcomes: Sequence[BaseModel]) -> None:
    """Tell what a webhook brought: a message, or the further fate of a message that went out."""
    for outcome in outcomes:
        match outcome:
            case MessageOutcome(outgoing=False):
                tell("message.received", event_id=str(outcome.id), account=outcome.account)
            case StatusOutcome(status="failed"):
                tell("message.given_up", reason=outcome.error, **_describe_status(outcome))
            case StatusOutcome():
                tell("message.delivery", status=outcome.status, **_describe_status(outcome))


def _describe_status(outcome: StatusOutcome) -> dict[str, Any]:
    return {
        "account": outcome.account,
        "task_id": outcome.task_id,
        "wa_message_id": outcome.wa_message_id,
    }

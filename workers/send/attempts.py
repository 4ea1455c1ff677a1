"""What a message's history knows of its attempts: when each began, and why it did not end it."""

from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel

from shared import routing
from shared.events import SendEvent, utc_now
from shared.lanes.types import Claim, ClaimResult, Postponed
from shared.outcomes import MessageOutcome

MAX_NOTED = 20
"""Attempts of a message that its history lists when they postpone it; the one that ends it is
always listed."""


def note_attempt(
    event: SendEvent, claim: Claim, started_at: datetime, result: ClaimResult
) -> ClaimResult:
    """Return the result of an attempt with the attempt in its outcomes.

    A message that is postponed gets an outcome of its own, with the reason.
    """
    outcomes = list(result.outcomes)
    if isinstance(result, Postponed) and claim.attempts <= MAX_NOTED:
        waits = routing.build_message_outcome(event, "queued", utc_now(), error=result.reason)
        outcomes.append(waits.model_copy(update={"event": "attempt"}))
    noted = [_describe(each, claim.attempts, started_at) for each in outcomes]
    return replace(result, outcomes=noted)


def _describe(outcome: BaseModel, attempt: int, started_at: datetime) -> BaseModel:
    if not isinstance(outcome, MessageOutcome):
        return outcome
    return outcome.model_copy(update={"attempt": attempt, "started_at": started_at})

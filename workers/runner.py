"""What every actor does with its event: handle it, and say how its claim ends.

Errors that a handler does not expect postpone its event, and dead-letter it after a while.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
from dramatiq.middleware import CurrentMessage
from pydantic import ValidationError

from shared.errors import DatabaseUnavailableError
from shared.events import Event
from shared.lanes.message import LaneMessage
from shared.lanes.types import Claim, ClaimResult, Postponed, State
from shared.redis import is_transient
from workers.context import WorkerContext, worker_context
from workers.dead_letters import dead_letter_raw, describe_error
from workers.retry import EVENT_BACKOFF

MAX_UNEXPECTED_ERRORS = 8
"""How often an event may raise an unexpected error before it is dead-lettered."""

AnEvent = TypeVar("AnEvent", bound=Event)
EventHandler = Callable[[AnEvent, Claim, WorkerContext], ClaimResult]
EventDeadLetter = Callable[[AnEvent, Claim, str, str], ClaimResult]
Handler = Callable[[Claim], ClaimResult]
DeadLetterHandler = Callable[[Claim, str, str], ClaimResult]

log = structlog.get_logger()


def run_event(
    event: AnEvent, handle: EventHandler[AnEvent], dead_letter: EventDeadLetter[AnEvent]
) -> None:
    """Handle the event of the current message; acknowledging the message concludes its claim."""
    message = CurrentMessage.get_current_message()
    if not isinstance(message, LaneMessage):
        msg = "an event is handled by a worker: enqueue it with .send(event)"
        raise TypeError(msg)
    ctx = worker_context()
    conclude_message(message, lambda claim: handle(event, claim, ctx), partial(dead_letter, event))


def conclude_message(
    message: LaneMessage, handler: Handler, dead_letter: DeadLetterHandler
) -> None:
    """Handle a claim and set its result. Outcomes that are no JSON end as a dead letter."""
    claim = message.claim
    result = handle_claim(claim, handler, dead_letter)
    try:
        message.conclude_with(result)
    except ValueError as error:
        log.error("event.unwritable", exc_info=error, event_id=str(claim.id))  # noqa: TRY400
        state: State = "unknown" if claim.queue == "send" else "failed"
        message.conclude_with(
            dead_letter_raw(claim, "internal_error", describe_error(error), state)
        )


def handle_claim(claim: Claim, handler: Handler, dead_letter: DeadLetterHandler) -> ClaimResult:
    """Return the handler's result; an unexpected error postpones, and dead-letters in the end."""
    with structlog.contextvars.bound_contextvars(
        event_id=str(claim.id), lane=claim.lane, attempt=claim.attempts
    ):
        try:
            if claim.expired:
                return _dead_letter_expired(claim, dead_letter)
            return handler(claim)
        except DatabaseUnavailableError as error:
            return Postponed(EVENT_BACKOFF.after(claim.attempts), f"{error.code}: {error}")
        except Exception as error:  # noqa: BLE001 - logged, and tried again or dead-lettered
            if is_transient(error):  # Redis is away: no error of the handler
                return Postponed(
                    EVENT_BACKOFF.after(claim.attempts),
                    f"redis_unavailable: {type(error).__name__}",
                )
            return _handle_unexpected(claim, error, dead_letter)


def conclude_failed(claim: Claim, error: BaseException | None) -> ClaimResult | None:
    """Return the end of a claim whose event cannot be read, after as many tries as any other.

    An actor that was interrupted (by its time limit) has an unknown effect: the claim is left to
    its lease, and to the sweeper.
    """
    if not isinstance(error, Exception):
        return None
    if claim.expired:
        return _dead_letter_expired(claim, dead_letter_raw)
    return _handle_unexpected(claim, error, dead_letter_raw)


def _dead_letter_expired(claim: Claim, dead_letter: DeadLetterHandler) -> ClaimResult:
    detail = f"could not be done in time; last reason: {claim.reason or 'none'}"
    return _dead_letter(claim, dead_letter, "expired", detail)


def _handle_unexpected(
    claim: Claim, error: Exception, dead_letter: DeadLetterHandler
) -> ClaimResult:
    unexpected_errors = claim.unexpected_errors + 1
    if isinstance(error, ValidationError):  # its text and its traceback hold what was written
        log.error(
            "event.unreadable", detail=describe_error(error), unexpected_errors=unexpected_errors
        )
    else:
        log.error("event.handler_failed", exc_info=error, unexpected_errors=unexpected_errors)
    if unexpected_errors >= MAX_UNEXPECTED_ERRORS:
        return _dead_letter(claim, dead_letter, "internal_error", describe_error(error))
    reason = f"internal_error: {type(error).__name__}"
    return Postponed(
        EVENT_BACKOFF.after(unexpected_errors),
        reason,
        fields={"unexpected_errors": str(unexpected_errors)},
    )


def _dead_letter(
    claim: Claim, dead_letter: DeadLetterHandler, reason: str, detail: str
) -> ClaimResult:
    try:
        return dead_letter(claim, reason, detail)
    except ValidationError:
        return dead_letter_raw(claim, reason, detail)

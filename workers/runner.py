"""What every actor does with its event: handle it, and say how its claim ends.

Errors that a handler does not expect postpone its event, and dead-letter it after a while.

A claim may come with the next events of its lane (`Claim.following`). An actor with a
`FollowingHandler` handles these as well, in order, until the first that it cannot end. From there
on, events get claims of their own.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog
from dramatiq.middleware import CurrentMessage
from pydantic import ValidationError

from shared.errors import DatabaseUnavailableError
from shared.events import Event
from shared.lanes.message import LaneMessage
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled, State
from shared.redis import is_transient
from workers.context import WorkerContext, worker_context
from workers.dead_letters import dead_letter_raw, describe_error
from workers.retry import EVENT_BACKOFF

MAX_UNEXPECTED_ERRORS = 8
"""How often an event may raise an unexpected error before it is dead-lettered."""

MAX_RUN_S = 0.05
"""After this time an actor handles no further event of a claim."""

AnEvent = TypeVar("AnEvent", bound=Event)
EventHandler = Callable[[AnEvent, Claim, WorkerContext], ClaimResult]
EventDeadLetter = Callable[[AnEvent, Claim, str, str], ClaimResult]
FollowingHandler = Callable[[Claim, WorkerContext], Settled | None]
"""Handles an event that has no lease of its own, without effects; None: it needs its own claim."""
Handler = Callable[[Claim], ClaimResult]
FollowingEnds = Callable[[Claim], Settled | None]
DeadLetterHandler = Callable[[Claim, str, str], ClaimResult]

log = structlog.get_logger()


def run_event(
    event: AnEvent,
    handle: EventHandler[AnEvent],
    dead_letter: EventDeadLetter[AnEvent],
    handle_following: FollowingHandler = lambda _claim, _ctx: None,
) -> None:
    """Handle the event of the current message; acknowledging the message concludes its claim."""
    message = CurrentMessage.get_current_message()
    if not isinstance(message, LaneMessage):
        msg = "an event is handled by a worker: enqueue it with .send(event)"
        raise TypeError(msg)
    ctx = worker_context()
    conclude_message(
        message,
        lambda claim: handle(event, claim, ctx),
        partial(dead_letter, event),
        lambda claim: handle_following(claim, ctx),
    )


def conclude_message(
    message: LaneMessage,
    handler: Handler,
    dead_letter: DeadLetterHandler,
    handle_following: FollowingEnds = lambda _claim: None,
) -> None:
    """Handle a claim and set its result. Outcomes that are no JSON end as a dead letter."""
    claim = message.claim
    result = handle_claim(claim, handler, dead_letter)
    if isinstance(result, Settled) and claim.following:
        run = _handle_run(claim.following, handle_following)
        with suppress(ValueError):  # then each event shows by itself whether it can be written
            message.conclude_with(replace(result, run=run))
            return
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


def _handle_run(claims: Sequence[Claim], handle: FollowingEnds) -> list[tuple[Claim, Settled]]:
    """Return the ends of the first of these events, in order."""
    ends: list[tuple[Claim, Settled]] = []
    stop_s = time.monotonic() + MAX_RUN_S
    for claim in claims:
        about = {"event_id": str(claim.id), "lane": claim.lane, "attempt": claim.attempts}
        with structlog.contextvars.bound_contextvars(**about):
            try:
                end = handle(claim) if time.monotonic() < stop_s else None
            except Exception:  # noqa: BLE001 - raised again, and told of, under its own claim
                end = None
        if end is None:
            break
        ends.append((claim, end))
    return ends


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

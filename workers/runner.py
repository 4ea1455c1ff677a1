"""The loop that all Dramatiq actors share: take the next ready lane of a kind, handle its head, conclude, go on.

A wake-up says only that some lane of a kind is ready. One drain works on until nothing is ready, its time is over or
the process shuts down; it never holds a claim while it is not working on it. Before it ends it stays for a moment:
while events keep coming, the next one calls it directly, which costs half of what a wake-up does.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event as Flag
from typing import Concatenate, ParamSpec, TypeVar

import redis
import structlog
from pydantic import ValidationError

from shared.errors import DatabaseUnavailableError
from shared.events import Event, QueueName
from shared.lanes.client import (
    Claim,
    ClaimResult,
    Lanes,
    Postponed,
    Settled,
    Slot,
    SlotOfThread,
    State,
)
from shared.lanes.wakeups import wake
from shared.redis import is_transient
from workers.dead_letters import dead_letter_raw, describe_error
from workers.retry import EVENT_BACKOFF

STAY_S = 1.0
"""How long a thread that finds nothing stays: what calls one that was killed meanwhile waits for the clock, as long."""

DRAIN_S = 10.0
"""How long one wake-up is followed: short beside Dramatiq's time limit, long beside one event."""

CONCLUDE_RETRY_S = 120.0
"""How long a verdict is offered to a Redis that is away: it may hold the only knowledge of a message sent."""

MAX_UNEXPECTED_ERRORS = 8
"""How often an event may raise what nobody expected, before it becomes a dead letter. Other attempts don't count."""

Handler = Callable[[Claim], ClaimResult]
DeadLetterHandler = Callable[[Claim, str, str], ClaimResult]
Answer = TypeVar("Answer")
AnEvent = TypeVar("AnEvent", bound=Event)
P = ParamSpec("P")

log = structlog.get_logger()
_here = SlotOfThread()


def parse_first(
    event_type: type[AnEvent], call: Callable[Concatenate[AnEvent, Claim, P], Answer]
) -> Callable[Concatenate[Claim, P], Answer]:
    """Return `call` without its first parameter: it gets the event that its claim holds."""

    def parsed(claim: Claim, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return call(event_type.model_validate_json(claim.body), claim, *args, **kwargs)

    return parsed


def drain(
    lanes: Lanes,
    kind: QueueName,
    handler: Handler,
    give_up: DeadLetterHandler,
    stopping: Flag,
    stay_s: float = 0,
) -> bool:
    """Handle ready events of `kind` until none has become ready for `stay_s`. Return whether more may be waiting."""
    slot = _here.slot
    until = time.monotonic() + DRAIN_S
    claim = lanes.claim(kind, slot, stay_s)
    while claim or _called(lanes, slot, stay_s):
        if claim is None:
            if stopping.is_set():
                return True
            claim = lanes.claim(kind, slot, stay_s)
            continue
        verdict = handle_claim(claim, handler, give_up)
        go_on = time.monotonic() < until and not stopping.is_set()
        counted, following = _conclude(lanes, claim, verdict, slot if go_on else None, stay_s)
        if not counted:
            log.warning(
                "claim.lost",
                event_id=str(claim.id),
                lane=claim.lane,
                verdict=type(verdict).__name__,
            )
        _wake_followers(lanes, kind, verdict)
        if not go_on:
            return True
        claim = following
    return False


def _called(lanes: Lanes, slot: Slot, stay_s: float) -> bool:
    """Stay, and return whether a lane became ready. A Redis that is away calls nobody: the clock wakes later."""
    try:
        return stay_s > 0 and lanes.called(slot, stay_s)
    except redis.RedisError as error:
        if not is_transient(error):
            raise
        return False


def _wake_followers(lanes: Lanes, kind: QueueName, verdict: ClaimResult) -> None:
    """Wake the workers of another kind for what follows now; the clock does it if this fails."""
    follow = verdict.follow if isinstance(verdict, Settled) else ()
    for other in {item.kind for item in follow if item.kind != kind and not item.delay_s}:
        with suppress(redis.RedisError):
            wake(lanes.client, other)


def handle_claim(claim: Claim, handler: Handler, give_up: DeadLetterHandler) -> ClaimResult:
    """Return the handler's verdict; what it did not expect is tried again, and given up after a while."""
    with structlog.contextvars.bound_contextvars(
        event_id=str(claim.id), lane=claim.lane, attempt=claim.attempts
    ):
        try:
            if claim.expired:
                detail = f"could not be done in time; last reason: {claim.reason or 'none'}"
                return _given_up(claim, give_up, "expired", detail)
            return handler(claim)
        except DatabaseUnavailableError as error:
            return Postponed(EVENT_BACKOFF.after(claim.attempts), f"{error.code}: {error}")
        except Exception as error:  # noqa: BLE001 - told of, and tried again or given up
            if is_transient(error):  # no surprise, however often it was tried before
                return Postponed(
                    EVENT_BACKOFF.after(claim.attempts),
                    f"redis_unavailable: {type(error).__name__}",
                )
            return _surprised(claim, error, give_up)


def _surprised(claim: Claim, error: Exception, give_up: DeadLetterHandler) -> ClaimResult:
    unexpected_errors = claim.unexpected_errors + 1
    if isinstance(error, ValidationError):  # its text and its traceback hold what was written
        log.error(
            "event.unreadable", detail=describe_error(error), unexpected_errors=unexpected_errors
        )
    else:
        log.error("event.surprise", exc_info=error, unexpected_errors=unexpected_errors)
    if unexpected_errors >= MAX_UNEXPECTED_ERRORS:
        return _given_up(claim, give_up, "internal_error", describe_error(error))
    reason = f"internal_error: {type(error).__name__}"
    return Postponed(
        EVENT_BACKOFF.after(unexpected_errors),
        reason,
        fields={"unexpected_errors": str(unexpected_errors)},
    )


def _given_up(claim: Claim, give_up: DeadLetterHandler, reason: str, detail: str) -> ClaimResult:
    try:
        return give_up(claim, reason, detail)
    except ValidationError:
        return dead_letter_raw(claim, reason, detail)


def _conclude(
    lanes: Lanes, claim: Claim, verdict: ClaimResult, slot: Slot | None, stay_s: float
) -> tuple[bool, Claim | None]:
    """Conclude, however long it takes. Outcomes that cannot be written down end as a dead letter, once and for all."""
    try:
        return _persistently(partial(lanes.conclude, claim, verdict, slot, stay_s))
    except ValueError as error:
        log.error("event.unwritable", exc_info=error, event_id=str(claim.id))  # noqa: TRY400 - told in full
        state: State = "unknown" if claim.kind == "send" else "failed"
        instead = dead_letter_raw(claim, "internal_error", describe_error(error), state)
        return _persistently(partial(lanes.conclude, claim, instead, slot, stay_s))


def _persistently(call: Callable[[], Answer]) -> Answer:
    until = time.monotonic() + CONCLUDE_RETRY_S
    while True:
        try:
            return call()
        except redis.RedisError as error:
            if time.monotonic() > until or not is_transient(error):
                raise
            log.warning("redis.away", error=str(error))
            time.sleep(random.uniform(0.1, 0.5))  # noqa: S311

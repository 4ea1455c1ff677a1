"""Pacing: gives each message its turn, by token buckets of its number and of its recipient.

WhatsApp bans numbers that write too much to too many people. A message that may not go out yet gets
its turn at its first claim, waits for it in its lane, and goes out at its second claim: no thread
waits. `pacing.lua` keeps the buckets, by the clock of the lanes.

What a message costs (`pacing.lua`): 1 token; a reply, to a person who wrote within a day, 0.25; the
first message to a new person 2; a file half as much again. A message of higher priority, and a
reply, goes out ahead of turns that were given before: a waiting message gives its turn up. A
message that misses its turn by more than 15 s, as during an outage, gets a new turn.

A number in its warm-up writes to a limited number of new people a day; the rest waits for the next.
"""

import json
import random
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import redis
import structlog

from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import SendEvent
from shared.lanes.scripts import load_with_clock
from shared.lanes.types import Claim, ClaimResult, Postponed
from shared.pacing import Pacing, PacingChange
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.routing import send_lane
from shared.transitions import tell
from workers.context import WorkerContext

SCRIPT = load_with_clock("workers.send", "pacing.lua")

LEVELS = {"low": 1, "normal": 2, "high": 3}
FILE_COST = 1.5
"""What a file costs beside a text."""
BUDGET_SPREAD_S = 600.0
"""Over how long the messages that waited for a new day begin it."""
MINUTE_MS = 60_000
HOUR_MS = 3_600_000

log = structlog.get_logger()


class Turn(NamedTuple):
    """The answer of the script. `what` is go, ask, number, recipient, late or budget."""

    what: str
    wait_ms: int
    number: int
    is_first: bool


def find_pacing(route: IntegrationRoute, ctx: WorkerContext) -> Pacing:
    """Return the pacing of a number: that of the deployment, changed by its organization."""
    return _combine(ctx.engine.pacing, route.pacing)


@lru_cache(maxsize=1024)
def _combine(default: Pacing, change: PacingChange) -> Pacing:
    return default.with_change(change)


def take_turn(
    event: SendEvent, claim: Claim, route: IntegrationRoute, ctx: WorkerContext
) -> Postponed | None:
    """Postpone a message to its turn, or to its end if its turn comes later; None: send it now.

    The caption of a file that went out follows it at once.

    Raises:
        DatabaseUnavailableError: the number is in its warm-up, and whether the recipient is new
            cannot be told.
    """
    pacing = find_pacing(route, ctx)
    if pacing.is_off or claim.file_task:
        return None
    request = _build_request(event, claim, route, pacing, ctx)
    turn = _run(ctx.redis, route, event, request)
    if turn.what == "ask":
        contact = _find_contact(event, route, ctx, is_needed="warm_up_from" in request)
        turn = _run(ctx.redis, route, event, {**request, "ask": False, "contact": contact})
    if turn.what == "go":
        return None
    _tell_first(turn, route, pacing)
    left_ms = max(0, claim.expires_ms - claim.now_ms)
    wait_ms = min(turn.wait_ms, left_ms)
    reason = describe_turn(turn.what, pacing, turn.number)
    if wait_ms < turn.wait_ms:
        reason += "; it expires before"
    earliest = {"earliest": str(claim.now_ms + wait_ms)}
    return Postponed(wait_ms / 1000, reason, fields=earliest, unstarted=True)


def keep_turn(
    event: SendEvent, result: ClaimResult, route: IntegrationRoute, ctx: WorkerContext
) -> None:
    """Let a message that had its turn, and was not taken, go out when it is tried again."""
    if not isinstance(result, Postponed) or find_pacing(route, ctx).is_off:
        return
    request = {"id": str(event.id), "keep": int(result.delay_s * 1000)}
    try:
        _run(ctx.redis, route, event, request)
    except redis.RedisError as error:
        log.warning("send.turn_not_kept", **route.named, error=str(error))


def describe_turn(what: str, pacing: Pacing, budget: int = 0) -> str:
    """Return the sentence that says what a message waits for."""
    if what == "budget":
        people = "1 new person" if budget == 1 else f"{budget} new people"
        return f"waits for tomorrow: its number is new and writes to {people} today (warm-up)"
    if what == "recipient":
        rate = f"{pacing.recipient_per_minute:g} messages a minute"
        return f"waits its turn: one person gets at most {rate}"
    return f"waits its turn: its number sends at most {pacing.per_minute:g} messages a minute"


def _build_request(
    event: SendEvent, claim: Claim, route: IntegrationRoute, pacing: Pacing, ctx: WorkerContext
) -> dict[str, Any]:
    spread = random.uniform(1 - pacing.jitter, 1 + pacing.jitter)  # noqa: S311
    request: dict[str, Any] = {
        "id": str(event.id),
        "number": str(route.id),
        "to": event.to,
        "priority": LEVELS[event.priority],
        "size": FILE_COST if event.media else 1,
        "token": _interval_ms(pacing.per_minute),
        "burst": pacing.burst,
        "to_token": _interval_ms(pacing.recipient_per_minute),
        "to_burst": pacing.recipient_burst,
        "jitter": spread,
        "left": max(0, claim.expires_ms - claim.now_ms),
        "by_contact": pacing.per_minute > 0,
        "ask": True,
        "contact": "",
    }
    if pacing.warm_up and route.warm_up_from and _warms_up(route, claim, pacing):
        request |= {
            "by_contact": True,
            "warm_up": pacing.warm_up,
            "warm_up_from": int(route.warm_up_from.timestamp() * 1000),
            "day_start": ctx.engine.wpp_warm_up_day_start * HOUR_MS,
            "spread": int(random.uniform(0, BUDGET_SPREAD_S) * 1000),  # noqa: S311
        }
    return request


def _interval_ms(per_minute: float) -> float:
    return MINUTE_MS / per_minute if per_minute else 0


def _warms_up(route: IntegrationRoute, claim: Claim, pacing: Pacing) -> bool:
    """Return whether a warm-up may still go on; the script knows its days exactly."""
    assert route.warm_up_from  # noqa: S101 - the caller has looked
    ends = route.warm_up_from + timedelta(days=len(pacing.warm_up) + 1)
    return claim.now_ms < ends.timestamp() * 1000


def _find_contact(
    event: SendEvent, route: IntegrationRoute, ctx: WorkerContext, *, is_needed: bool
) -> str:
    """Return what the number knows of the recipient; empty while it cannot be told."""
    try:
        return ctx.database.pacing.find_acquaintance(route.id, event.to)
    except DatabaseUnavailableError:
        if is_needed:
            raise
        return ""
    except DatabaseError as error:
        log.warning("send.contact_unknown", **route.named, error=str(error))
        return ""


def _tell_first(turn: Turn, route: IntegrationRoute, pacing: Pacing) -> None:
    reason = describe_turn(turn.what, pacing, turn.number)
    if turn.is_first and turn.what == "budget":
        tell("warm_up.used_up", **route.named, reason=reason)
    elif turn.is_first:
        tell("pacing.began", **route.named, reason=reason)


def _run(
    client: "redis.Redis", route: IntegrationRoute, event: SendEvent, request: Mapping[str, Any]
) -> Turn:
    names = [
        keys.LANE_CLOCK,
        keys.pace(route.id),
        keys.pace_turns(route.id),
        keys.pace_recipient(route.id, event.to),
        keys.pace_contact(route.id, event.to),
        keys.PACED,
        keys.warm_up(route.id),
        keys.WARM_UP_LEFT,
        keys.warm_up_waiting(route.id),
        keys.lane_state(send_lane(route.id, event.to)),
    ]
    what, wait_ms, number, is_first = SCRIPT.run(client, names, [json.dumps(request)])
    return Turn(what.decode(), int(wait_ms), int(number), bool(is_first))

"""Which numbers have messages that wait their turn, and what is left of today's warm-up budgets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import redis

from shared.pacing import Pacing
from shared.redis import keys
from shared.route_cache import LOCAL_TTL_S

GRACE_MS = 15_000
"""How late a message may come for its turn (`pacing.lua`)."""
USED_UP = -1
"""In `keys.WARM_UP_LEFT`: messages to new people wait for the next day."""


RELEASE_AFTER_S = LOCAL_TTL_S + 1
"""When messages that wait are looked at again after a change: every worker knows it by then."""
SLICE = 500
"""Messages that a pipeline releases."""


@dataclass(frozen=True)
class PacedNumber:
    """How many messages of a number wait their turn, the last of them for `last_turn_s`.

    `for_tomorrow`: how many wait for the next day of its warm-up.
    """

    integration_id: UUID
    waiting: int
    last_turn_s: float
    for_tomorrow: int


@dataclass(frozen=True)
class WarmUpDay:
    """A day of a warm-up: the first is 1."""

    day: int
    budget: int


def find_warm_up_day(
    pacing: Pacing, began: datetime | None, now: datetime, day_start: int
) -> WarmUpDay | None:
    """Return the present day of a number's warm-up (as `pacing.lua` does); None: it has none now.

    `day_start` is the hour (UTC) at which a day begins.
    """
    if began is None:
        return None
    start = timedelta(hours=day_start)
    age = max(0, (now - start).toordinal() - (began - start).toordinal())
    if age >= len(pacing.warm_up):
        return None
    return WarmUpDay(age + 1, pacing.warm_up[age])


def list_paced(client: "redis.Redis") -> list[PacedNumber]:
    """Return the numbers with messages that wait their turn, the longest first; 1,000 at most."""
    now_ms = _read_clock(client)
    found: Any = client.zrange(
        keys.PACED, "+inf", now_ms, byscore=True, desc=True, offset=0, num=1000
    )
    return find_waiting(client, [UUID(name.decode()) for name in found])


def find_waiting(client: "redis.Redis", integration_ids: Sequence[UUID]) -> list[PacedNumber]:
    """Return how many messages of these numbers wait, in the same order."""
    now_ms = _read_clock(client)
    pipe = client.pipeline(transaction=False)
    for each in integration_ids:
        pipe.zscore(keys.PACED, str(each))
        pipe.zcount(keys.pace_turns(each), now_ms - GRACE_MS, "+inf")
        pipe.zcard(keys.warm_up_waiting(each))
    replies = iter(pipe.execute())
    return [
        PacedNumber(each, waiting, max(0.0, ((last_ms or 0) - now_ms) / 1000), for_tomorrow)
        for each, last_ms, waiting, for_tomorrow in zip(
            integration_ids, replies, replies, replies, strict=False
        )
    ]


def release(client: "redis.Redis", integration_ids: Iterable[UUID]) -> int:
    """Have messages that wait their turn, or the next day, take a new turn; return their number.

    For a change of settings: they were given their turn by the old settings.
    """
    due_ms = _read_clock(client) + int(RELEASE_AFTER_S * 1000)
    total = 0
    for integration_id in integration_ids:
        waiting = (keys.pace_turns(integration_id), keys.warm_up_waiting(integration_id))
        ids: list[Any] = [each for name in waiting for each in client.zrange(name, 0, -1)]
        client.delete(*waiting, keys.pace(integration_id))
        client.zrem(keys.PACED, str(integration_id))
        for first in range(0, len(ids), SLICE):
            _hasten(client, ids[first : first + SLICE], due_ms)
        total += len(ids)
    return total


def _hasten(client: "redis.Redis", ids: Sequence[bytes], due_ms: int) -> None:
    """Make the lanes of events due earlier, if they wait for longer; those that work are left."""
    pipe = client.pipeline(transaction=False)
    for event_id in ids:
        pipe.hget(keys.event(event_id.decode()), "lane")
    lanes = [lane for lane in pipe.execute() if lane]
    for lane in lanes:
        pipe.zadd(keys.delayed("send"), {lane: due_ms}, xx=True, lt=True)
    pipe.execute()


def remove_idle(client: "redis.Redis") -> list[UUID]:
    """Forget the numbers whose last turn has passed; return those that this call removed."""
    limit_ms = _read_clock(client) - GRACE_MS
    found: Any = client.zrange(keys.PACED, "-inf", limit_ms, byscore=True, offset=0, num=1000)
    return [UUID(name.decode()) for name in found if client.zrem(keys.PACED, name)]


def budgets_left(client: "redis.Redis") -> dict[UUID, int]:
    """Return to how many more new people numbers in their warm-up may write today.

    `USED_UP`: messages wait for the next day. A number that wrote to no new people is left out.
    """
    found: Any = client.hgetall(keys.WARM_UP_LEFT)
    return {UUID(name.decode()): int(left) for name, left in found.items()}


def _read_clock(client: "redis.Redis") -> int:
    """Return what the clock of the lanes showed last; sweeps store it each second."""
    stored: Any = client.hget(keys.LANE_CLOCK, "lanes")
    return int(stored) if stored else 0

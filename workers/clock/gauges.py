"""Measures what only a look around tells: the oldest events, unknown messages, dead letters.

Every half minute into a hash of Redis, which a scrape of the metrics reads.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Event as Flag
from typing import Any

import redis
import structlog

from shared.database import DeadLetterQuery
from shared.errors import DatabaseError
from shared.events import QUEUE_NAMES
from shared.redis import keys
from workers.context import WorkerContext

PAUSE_S = 30.0
MAX_LANES = 100
"""Lanes of each kind and place that are looked at for the oldest event."""
MAX_TENANTS = 20

log = structlog.get_logger()


def measure_gauges(client: "redis.Redis", ctx: WorkerContext, stopping: Flag) -> None:
    """Measure until told to stop."""
    while True:
        try:
            values: dict[Any, Any] = {
                **{f"oldest|{kind}": age for kind, age in find_oldest(client).items()},
                "breaker|platform": float(ctx.breaker.state().name != "closed"),
                "unknown": count_unknown(client),
            }
            client.hset(keys.GAUGES, mapping=values)
            dead = ctx.database.dead_letters.count(DeadLetterQuery())
            client.hset(keys.GAUGES, "dead", dead)
        except (redis.RedisError, DatabaseError) as error:
            log.warning("gauges.failed", error=str(error))
        if stopping.wait(PAUSE_S):
            return


def count_unknown(client: "redis.Redis") -> int:
    """Return the number of messages with an unknown delivery."""
    tenants: Any = client.smembers(keys.UNKNOWN_TENANTS)
    pipe = client.pipeline(transaction=False)
    for tenant in tenants:
        pipe.zcard(keys.unknown_of(tenant.decode()))
    return sum(pipe.execute())


def find_oldest(client: "redis.Redis") -> dict[str, float]:
    """Return by kind how long the oldest event has waited, in seconds; 0 when none waits.

    It looks at the heads of lanes: those due soonest, claimed longest and next in turn.
    """
    return {kind: _find_age(client, list(_some_lanes(client, kind))) for kind in QUEUE_NAMES}


def _find_age(client: "redis.Redis", lanes: Iterable[bytes]) -> float:
    pipe = client.pipeline(transaction=False)
    for lane in lanes:
        pipe.lindex(keys.lane(lane.decode()), 0)
    heads = [head for head in pipe.execute() if head]
    for head in heads:
        pipe.hget(keys.event(head.decode()), "accepted")
    accepted = [int(each) for each in pipe.execute() if each]
    return max(0.0, time.time() - min(accepted) / 1000) if accepted else 0.0


def _some_lanes(client: "redis.Redis", kind: str) -> Iterator[bytes]:
    for places in (keys.delayed(kind), keys.leases(kind)):
        found: Any = client.zrange(places, 0, MAX_LANES - 1)
        yield from found
    tenants: Any = client.hkeys(keys.waiting(kind))
    for tenant in islice(tenants, MAX_TENANTS):
        ready: Any = client.lrange(keys.ready_lanes(kind, tenant.decode()), 0, MAX_TENANTS)
        yield from ready

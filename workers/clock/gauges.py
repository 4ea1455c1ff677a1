"""Measures what only a look around tells: the oldest events, unknown messages, dead letters.

Every half minute into a hash of Redis, which a scrape of the metrics reads.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from threading import Event as Flag
from typing import Any

import redis
import structlog

from shared.database import DeadLetterQuery
from shared.errors import DatabaseError
from shared.events import QUEUE_NAMES
from shared.lanes.records import count_unknown
from shared.lanes.types import LEVELS
from shared.outbox import count_left
from shared.redis import keys
from shared.transitions import tell
from workers.context import WorkerContext
from workers.send.paced_numbers import USED_UP, budgets_left, list_paced, remove_idle

PAUSE_S = 30.0
MAX_LANES = 100
"""Lanes of each kind and place that are looked at for the oldest event."""
MAX_TENANTS = 20

log = structlog.get_logger()


class NewerWatch:
    """Tells once that work waits for processes of a newer version.

    Next to these processes it waits for a moment. It is told when it was seen twice in a row.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._told: set[str] = set()

    def look(self, counts: Mapping[str, int]) -> None:
        """Compare with the last look what waits now, by kind."""
        waiting = {kind for kind, count in counts.items() if count}
        self._told &= waiting
        for kind in sorted(waiting & self._seen - self._told):
            tell("newer_process.awaited", kind=kind, count=counts[kind])
            self._told.add(kind)
        self._seen = waiting


Ages = dict[str, dict[str, float]]
"""How long the oldest event has waited, in seconds, by kind and tenant."""


def measure_gauges(client: "redis.Redis", ctx: WorkerContext, ages: Ages, stopping: Flag) -> None:
    """Measure until told to stop; `ages` gets what was found last."""
    newer = NewerWatch()
    while True:
        try:
            newer.look(count_left(client))
            ages.update(find_ages(client))
            values: dict[Any, Any] = {
                **{f"oldest|{kind}": age for kind, age in find_oldest(ages).items()},
                "breaker|platform": float(ctx.breaker.state().name != "closed"),
                "unknown": count_unknown(client),
                **measure_pacing(client),
            }
            client.hset(keys.GAUGES, mapping=values)
            tell_unpaced(client, ctx)
            dead = ctx.database.dead_letters.count(DeadLetterQuery())
            client.hset(keys.GAUGES, "dead", dead)
            health = ctx.database.callbacks.measure()
            client.hset(keys.GAUGES, mapping=name_callback_gauges(health))
        except (redis.RedisError, DatabaseError) as error:
            log.warning("gauges.failed", error=str(error))
        if stopping.wait(PAUSE_S):
            return


def name_callback_gauges(health: Mapping[str, float]) -> dict[Any, Any]:
    """Return how callbacks do, by the fields of the gauges."""
    return {f"callbacks|{name}": value for name, value in health.items()}


def measure_pacing(client: "redis.Redis") -> dict[str, float]:
    """Return how many numbers are paced, their messages that wait, and what is left of budgets."""
    paced = list_paced(client)
    left = budgets_left(client).values()
    return {
        "paced|numbers": len(paced),
        "paced|messages": sum(number.waiting for number in paced),
        "warm_up|left": sum(each for each in left if each > 0),
        "warm_up|used_up": sum(each == USED_UP for each in left),
    }


def tell_unpaced(client: "redis.Redis", ctx: WorkerContext) -> None:
    """Tell of each number whose messages do not wait their turn any more."""
    for integration_id in remove_idle(client):
        route = ctx.route_cache.find_route(integration_id)
        named = route.named if route else {"integration_id": str(integration_id)}
        tell("pacing.ended", **named)


def find_ages(client: "redis.Redis") -> Ages:
    """Return the ages of the oldest events by kind and tenant.

    A scheduled event waits from its date on, a paced message from its turn on: until then no worker
    could help. It looks at the heads of lanes: those due soonest, claimed longest and next in turn.
    """
    if not client.exists(*map(keys.waiting, QUEUE_NAMES)):  # one command for an idle pipeline
        return {kind: {} for kind in QUEUE_NAMES}
    return {kind: _find_ages(client, list(_some_lanes(client, kind))) for kind in QUEUE_NAMES}


def find_oldest(ages: Ages) -> dict[str, float]:
    """Return the greatest age by kind; 0 when nothing waits."""
    return {kind: max(tenants.values(), default=0.0) for kind, tenants in ages.items()}


def _find_ages(client: "redis.Redis", lanes: Iterable[bytes]) -> dict[str, float]:
    pipe = client.pipeline(transaction=False)
    for lane in lanes:
        pipe.lindex(keys.lane(lane.decode()), 0)
    heads = [head for head in pipe.execute() if head]
    for head in heads:
        pipe.hmget(keys.event(head.decode()), "tenant", "send_at", "accepted", "earliest")
    now_s = time.time()
    ages: dict[str, float] = {}
    for tenant, send_at, accepted, turn in pipe.execute():
        if tenant and accepted:
            since_ms = max(int(send_at or accepted), int(turn or 0))
            age_s = max(0.0, now_s - since_ms / 1000)
            ages[tenant.decode()] = max(age_s, ages.get(tenant.decode(), 0.0))
    return ages


def _some_lanes(client: "redis.Redis", kind: str) -> Iterator[bytes]:
    tenants: Any = client.hkeys(keys.waiting(kind))
    if not tenants:  # nothing waits, nothing is in work
        return
    for places in (keys.delayed(kind), keys.leases(kind)):
        found: Any = client.zrange(places, 0, MAX_LANES - 1)
        yield from found
    for tenant in islice(tenants, MAX_TENANTS):
        for level in LEVELS:
            names = keys.ready_lanes(kind, tenant.decode(), level)
            ready: Any = client.lrange(names, 0, MAX_TENANTS)
            yield from ready

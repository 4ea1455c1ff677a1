"""Adds a minute to the last hour: what happened and what waits, by kind and by organization.

Of several clocks, the first that comes adds the entry; after a takeover the next clock goes on. A
minute costs about ten commands of Redis.
"""

from collections.abc import Mapping
from heapq import nlargest
from threading import Event as Flag

import redis
import structlog

from shared import activity, metrics
from shared.activity import MINUTE_MS, Activity, Minute, Totals
from shared.events import QUEUE_NAMES
from shared.lanes.records import total_waiting
from shared.processes import now_ms
from workers.clock.gauges import Ages

GRACE_MS = 2_000
"""After the end of a minute, processes may still add what they counted in it."""
RETRY_S = 5.0

log = structlog.get_logger()


def run_minutes(client: "redis.Redis", ages: Ages, stopping: Flag) -> None:
    """Add minutes until told to stop. `ages`: what `measure_gauges` found last."""
    while True:
        try:
            pause_s = write_minute(client, ages, now_ms(client))
        except redis.RedisError as error:
            log.warning("minutes.failed", error=str(error))
            pause_s = RETRY_S
        if stopping.wait(pause_s):
            return


def write_minute(client: "redis.Redis", ages: Ages, at_ms: int) -> float:
    """Add the minute that ended last, unless it is there; return the seconds until the next."""
    end_ms = (at_ms - GRACE_MS) // MINUTE_MS * MINUTE_MS
    if activity.find_last(client) < end_ms:
        activity.add_minute(client, measure(client, ages, end_ms))
    return (end_ms + MINUTE_MS + GRACE_MS - at_ms) / 1000


def measure(client: "redis.Redis", ages: Ages, end_ms: int) -> Minute:
    """Return what all processes counted until the end of a minute, and what waits now."""
    waiting = total_waiting(client, QUEUE_NAMES)
    named, others = choose_organizations(
        activity.read_counts(client, end_ms), waiting["send"], ages.get("send", {})
    )
    return Minute(
        at_ms=end_ms,
        totals=read_totals(client),
        waiting={kind: sum(tenants.values()) for kind, tenants in waiting.items()},
        oldest_s={
            kind: round(max(tenants.values(), default=0.0)) for kind, tenants in ages.items()
        },
        organizations=named,
        others=others,
    )


def choose_organizations(
    counts: Mapping[str, Activity], waiting: Mapping[str, int], ages: Mapping[str, float]
) -> tuple[dict[str, Activity], Activity]:
    """Return the organizations in which most happens or waits, and all further ones together."""
    found = {
        each: counts.get(each, Activity())._replace(
            waiting=waiting.get(each, 0), oldest_s=round(ages.get(each, 0.0))
        )
        for each in {*counts, *waiting}
    }
    named = nlargest(
        activity.MAX_ORGANIZATIONS, found, key=lambda each: (sum(found[each][:5]), each)
    )
    rest = found.keys() - named
    return {each: found[each] for each in named}, activity.add_up(found[each] for each in rest)


def read_totals(client: "redis.Redis") -> dict[str, Totals]:
    """Return what was counted of each kind since the first start."""
    found = dict(metrics.read(client))

    def total(name: str, label: str = "") -> float:
        return found[name].get(label, 0.0)

    done = {
        "send": total("wpp_messages_sent_total"),
        "webhook": sum(
            amount
            for limit, amount in found["wpp_webhook_handled_seconds"].items()
            if limit != "sum"
        ),
        "callback": total("wpp_callback_posts_total", "delivered"),
    }
    failed = {kind: total("wpp_events_dead_lettered_total", kind) for kind in QUEUE_NAMES} | {
        "send": total("wpp_messages_failed_total") + total("wpp_messages_expired_total")
    }
    return {
        kind: Totals(
            total("wpp_events_accepted_total", kind),
            done.get(kind),
            failed[kind],
            total("wpp_messages_unknown_total") if kind == "send" else 0,
        )
        for kind in QUEUE_NAMES
    }

"""What `wpp lanes` prints: backlog, gates, outbox, dead letters, clock. It reads indexes only."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from shared.database import Database, DeadLetterQuery
from shared.database.diagnosis import advise
from shared.errors import DatabaseError
from shared.events import QUEUE_NAMES
from shared.lanes.records import count_scheduled, total_waiting
from shared.outbox import Outbox, count_left
from shared.redis import keys
from workers.cli.output import format_duration
from workers.status import find_gates, read_paced

CLOCK_STOPPED_S = 30
"""A running clock sweeps about once a second; without a sweep for this long, it has stopped."""

INDENT = " " * 10


def print_status(client: "redis.Redis", database: Database | None) -> Iterator[str]:
    """Yield the lines of the status; without a database, dead letters are left out."""
    yield from _print_backlog(client)
    yield from _print_gates(client)
    yield from _print_left(client)
    if paced := describe_paced(read_paced(client)):
        yield f"{INDENT}paced: {paced} (see wpp pacing)"
    outbox = Outbox(client)
    yield from _print_outbox(outbox)
    yield from _print_set_aside(outbox)
    yield from _print_dead_letters(database)
    yield _print_clock(client)
    counts: Any = client.hgetall(keys.UNRECOGNIZED_EVENTS)
    for name, count in sorted(counts.items(), key=lambda item: -int(item[1])):
        yield f"{int(count):8}  webhooks of an unrecognized type: {name.decode(errors='replace')}"


def read_lanes(client: "redis.Redis") -> dict[str, Any]:
    """Return what waits, by organization and by gate, and the outbox."""
    outbox = Outbox(client)
    last_sweep_ms: Any = client.get(keys.LAST_SWEEP)
    return {
        "waiting": [
            {"kind": kind, "tenant": tenant, "events": count}
            for count, kind, tenant in _find_backlog(client)
        ],
        "gates": find_gates(client),
        "paced": read_paced(client),
        "awaiting_newer": {kind: count for kind, count in count_left(client).items() if count},
        "outbox": {
            "outcomes": len(outbox),
            "oldest_s": outbox.age_s(),
            "blocked": outbox.blocked_reason,
            "set_aside": [each.model_dump(mode="json") for each in outbox.set_aside],
        },
        "clock_age_s": time.time() - int(last_sweep_ms) / 1000 if last_sweep_ms else None,
    }


def describe_paced(paced: Mapping[str, Any]) -> str:
    """Return a sentence about them; empty if there are none."""
    parts = []
    if numbers := paced["numbers"]:
        waiting = sum(each["waiting"] for each in numbers)
        for_up_to = f"for up to {format_duration(numbers[0]['for_s'])}"
        parts.append(f"{waiting} messages of {len(numbers)} numbers wait their turn, {for_up_to}")
    if used_up := len(paced["warm_up_used_up"]):
        parts.append(f"{used_up} new numbers wrote to all new people of today (warm-up)")
    return "; ".join(parts)


def _find_backlog(client: "redis.Redis") -> list[tuple[int, str, str]]:
    rows = [
        (count, kind, tenant)
        for kind, tenants in total_waiting(client, QUEUE_NAMES).items()
        for tenant, count in tenants.items()
    ]
    return sorted(rows, reverse=True)


def _print_backlog(client: "redis.Redis") -> Iterator[str]:
    rows = _find_backlog(client)
    yield " WAITING  KIND       ORGANIZATION" if rows else f"{INDENT}nothing waits"
    for count, kind, tenant in rows:
        yield f"{count:8}  {kind:10} {tenant}"
    if scheduled := count_scheduled(client):
        yield f"{scheduled:8}  of these messages for a later date"


def _print_gates(client: "redis.Redis") -> Iterator[str]:
    for each in find_gates(client):
        yield (
            f"{each['lanes']:8}  lanes held by {each['gate']} for {each['left_s']:.0f} s at most: "
            f"{each['reason']}"
        )


def _print_left(client: "redis.Redis") -> Iterator[str]:
    for kind, count in count_left(client).items():
        if count:
            yield f"{count:8}  {describe_left(kind)}"


def describe_left(kind: str) -> str:
    """Say for what events of a kind, or outcomes, wait that no running process can read."""
    if kind == "outcome":
        return "outcomes wait for a newer recorder, or for migrations (see docs/upgrading.md)"
    return f"lanes wait for {kind} workers of a newer version (see docs/upgrading.md)"


def _print_outbox(outbox: Outbox) -> Iterator[str]:
    age_s = outbox.age_s()
    oldest = f", the oldest for {age_s:.0f} s" if age_s is not None else ""
    yield f"{len(outbox):8}  outcomes on their way to Supabase{oldest}"
    if outbox.blocked_reason:
        yield f"{INDENT}{outbox.blocked_reason}"


def _print_set_aside(outbox: Outbox) -> Iterator[str]:
    for each in outbox.set_aside:
        until = each.retry_at.astimezone().strftime("%H:%M:%S")
        yield f"{each.waiting:8}  outcomes of {each.owner} set aside until {until}: {each.why}"
        if advice := advise(each.code):
            yield f"{INDENT}{advice}"


def _print_dead_letters(database: Database | None) -> Iterator[str]:
    if database is None:
        return
    try:
        count = database.dead_letters.count(DeadLetterQuery())
        refused = database.dead_letters.count(DeadLetterQuery(kind="outcome", reason="refused"))
    except DatabaseError as error:
        yield f"       ?  dead letters: {error}"
        return
    yield f"{count:8}  dead letters (see wpp dead), {refused} of them outcomes refused by Supabase"


def _print_clock(client: "redis.Redis") -> str:
    last_sweep_ms = client.get(keys.LAST_SWEEP)
    consequence = "delayed, postponed and scheduled events do not become ready"
    if not isinstance(last_sweep_ms, bytes):
        return f"{INDENT}the clock has never run: {consequence}"
    age_s = max(0.0, time.time() - int(last_sweep_ms) / 1000)
    if age_s > CLOCK_STOPPED_S:
        return f"{INDENT}the clock has not run for {age_s:.0f} s: {consequence}"
    return f"{INDENT}the clock ran {age_s:.0f} s ago"

"""What an operator sees at a glance: what waits, what holds it up, what has failed, and what was odd."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import redis

from shared.database import Database, DeadLetterQuery
from shared.errors import DatabaseError
from shared.events import QUEUE_NAMES
from shared.lanes import records as ledger
from shared.lanes.client import total_waiting
from shared.outbox import Outbox
from shared.redis import keys

SILENT_S = 30
"""A clock sweeps every second or so: after this long, none is running."""


def print_status(client: "redis.Redis", database: Database | None) -> Iterator[str]:
    """Return lines to be read. Without a database, all but the dead letters."""
    yield from _waiting(client)
    yield from _held(client)
    yield from _outbox(Outbox(client, consumer=""))
    yield from _dead(database)
    yield _clock(client)
    odd: Any = client.hgetall(keys.UNRECOGNIZED_EVENTS)
    for name, count in sorted(odd.items(), key=lambda item: -int(item[1])):
        yield f"{int(count):8}  webhooks of an unknown kind: {name.decode(errors='replace')}"


def unknown_messages(client: "redis.Redis", organization_id: UUID | None) -> list[ledger.Record]:
    """Return the messages of which nobody knows whether they went out, the oldest first. Goes through all keys."""
    ids: list[UUID] = []
    for key in client.scan_iter(keys.unknown_events("*"), count=10_000):
        members: Any = client.smembers(key)
        ids += [UUID(each.decode()) for each in members]
    found = (ledger.find_record(client, each) for each in ids)
    records = [
        each
        for each in found
        if each and (organization_id is None or each.tenant == str(organization_id))
    ]
    return sorted(records, key=lambda record: record.accepted)


def _waiting(client: "redis.Redis") -> Iterator[str]:
    totals = total_waiting(client, QUEUE_NAMES)
    rows = [
        (count, kind, tenant)
        for kind, tenants in totals.items()
        for tenant, count in tenants.items()
    ]
    for count, kind, tenant in sorted(rows, reverse=True):
        yield f"{count:8}  {kind:10} {tenant}"


def _held(client: "redis.Redis") -> Iterator[str]:
    for key in client.scan_iter(keys.gate("*"), count=10_000):
        reason: Any = client.get(key)
        left_ms = int(client.pttl(key))
        if reason and left_ms > 0:
            name = key.decode().removeprefix(keys.gate(""))
            lanes = client.scard(keys.gated_lanes(name))
            yield f"{lanes:8}  lanes held by {name} for {left_ms / 1000:.0f} s at most: {reason.decode()}"


def _outbox(outbox: Outbox) -> Iterator[str]:
    age_s = outbox.age_s()
    oldest = f", the oldest for {age_s:.0f} s" if age_s is not None else ""
    yield f"{len(outbox):8}  outcomes on their way to Supabase{oldest}"
    if outbox.blocked_reason:
        yield f"          {outbox.blocked_reason}"


def _dead(database: Database | None) -> Iterator[str]:
    if database is None:
        return
    try:
        count = database.dead_letters.count(DeadLetterQuery())
        refused = database.dead_letters.count(DeadLetterQuery(kind="outcome", reason="refused"))
    except DatabaseError as error:
        yield f"       ?  dead letters: {error}"
        return
    yield f"{count:8}  dead letters (wpp dead), {refused} of them outcomes that Supabase refused"


def _clock(client: "redis.Redis") -> str:
    swept_ms = client.get(keys.LAST_SWEEP)
    if not isinstance(swept_ms, bytes):
        return "          no clock has ever run: nothing that is due later will wake"
    age_s = max(0.0, time.time() - int(swept_ms) / 1000)
    if age_s > SILENT_S:
        return f"          no clock has run for {age_s:.0f} s: nothing that is due later will wake"
    return f"          the clock ran {age_s:.0f} s ago"

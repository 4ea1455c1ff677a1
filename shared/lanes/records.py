"""Records of accepted events, for as long as their idempotency keys are known.

queued → claimed → sent | done | failed | unknown. Only the lanes' scripts (`lua/`)
write a record; this module reads it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import redis
from pydantic import BaseModel, ConfigDict

from shared.lanes.types import State
from shared.redis import keys

FIELDS = (
    "state",
    "queue",
    "tenant",
    "lane",
    "attempts",
    "accepted",
    "claimed",
    "settled",
    "resends",
    "reason",
    "code",
    "task_id",
    "body",
    *(f"reason{piece}" for piece in range(1, 8)),
)
"""`reason1`, `reason2`, … continue the `reason` of a settled event: pieces of at most 64 bytes."""


class Record(BaseModel):
    """The record of an event. `tenant` is the organization, or the account for a webhook."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    state: State
    queue: str
    tenant: str
    lane: str = ""
    """Empty once it is settled."""
    attempts: int
    accepted: datetime
    claimed: datetime | None = None
    """When the latest attempt began, until the event is settled."""
    settled: datetime | None = None
    resends: int = 0
    """How often it went out once more although its effect was unknown."""
    reason: str | None = None
    """Why it waits, or how it ended: a sentence."""
    code: str | None = None
    """How it failed, as its dead letter's `reason` has it."""
    task_id: str | None = None
    body: bytes | None = None
    """The event itself, until it is settled; an unknown event has it while it can be resolved."""


def record_key(event_id: UUID) -> str:
    return keys.event(event_id)


def parse_record(event_id: UUID, reply: list[bytes | None]) -> Record | None:
    """Read the answer to HMGET `key` `FIELDS`."""
    found = {name: value for name, value in zip(FIELDS, reply, strict=True) if value is not None}
    if "state" not in found:
        return None
    pieces = [found.pop(name) for name in FIELDS if name.startswith("reason") and name in found]
    if pieces:
        found["reason"] = b"".join(pieces)
    values: dict[str, Any] = {
        name: value if name == "body" else value.decode() for name, value in found.items()
    }
    for time in ("accepted", "claimed", "settled"):
        if time in values:
            values[time] = datetime.fromtimestamp(int(values[time]) / 1000, UTC)
    return Record(id=event_id, **values)


def find_record(client: "redis.Redis", event_id: UUID) -> Record | None:
    """Return the record of an event, or None when there is none (any more)."""
    reply: Any = client.hmget(keys.event(event_id), FIELDS)
    return parse_record(event_id, reply)


def find_unknown(client: "redis.Redis", tenant: str | None = None) -> list[Record]:
    """Return the events whose effect is unknown, of a tenant or of all, oldest first."""
    tenants: Any = [tenant.encode()] if tenant else client.smembers(keys.UNKNOWN_TENANTS)
    found: list[Record] = []
    for each in tenants:
        members: Any = client.zrange(keys.unknown_of(each.decode()), 0, -1)
        ids = [UUID(member.decode()) for member in members]
        with client.pipeline(transaction=False) as pipe:
            for event_id in ids:
                pipe.hmget(keys.event(event_id), FIELDS)
            replies = pipe.execute()
        records = map(parse_record, ids, replies)
        found += [record for record in records if record and record.state == "unknown"]
    return sorted(found, key=lambda record: record.accepted)


def find_records(client: "redis.Redis", event_ids: Iterable[UUID]) -> dict[UUID, Record]:
    """Return the records of events, without those that have none (any more)."""
    ids = list(event_ids)
    pipe = client.pipeline(transaction=False)
    for event_id in ids:
        pipe.hmget(keys.event(event_id), FIELDS)
    records = map(parse_record, ids, pipe.execute())
    return {record.id: record for record in records if record}


def total_waiting(client: "redis.Redis", queues: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return events in lanes as {queue: {tenant: count}}: for metrics and operators."""
    totals: dict[str, dict[str, int]] = {}
    for queue in queues:
        waiting: Any = client.hgetall(keys.waiting(queue))
        totals[queue] = {tenant.decode(): int(count) for tenant, count in waiting.items()}
    return totals

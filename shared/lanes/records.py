"""Records of accepted events, for as long as their idempotency keys are known.

queued → claimed → sent | done | failed | unknown. Some are scheduled first; those that wait may be
cancelled. Only the lanes' scripts (`lua/`) write a record; this module reads it.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import redis
import redis.asyncio
from pydantic import BaseModel, ConfigDict

from shared.lanes.types import State
from shared.redis import keys
from shared.redis.scripts import LuaScript

SCAN_COUNT = 100

READ_ACCEPTANCES = LuaScript("""
local times = {}
for index, key in ipairs(KEYS) do times[index] = redis.call('HGET', key, 'accepted') end
return times
""")
"""One reply for many records: in a pipeline, reading each reply costs the ingress 20 µs."""

FIELDS = (
    "state",
    "queue",
    "tenant",
    "lane",
    "attempts",
    "accepted",
    "send_at",
    "claimed",
    "settled",
    "resends",
    "reason",
    "code",
    "task_id",
    "caption_task_id",
    "file_task",
    "substitutes",
    "earliest",
    "body",
    "settled_by",
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
    send_at: datetime | None = None
    """When it was, or will be, put into its lane, if that was not at once."""
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
    caption_task_id: str | None = None
    """The platform's id of the text that followed a file."""
    file_task: str | None = None
    """As in `Claim`, until the event is settled."""
    substitutes: str | None = None
    """What was used instead of a missing call and could not be known at acceptance."""
    earliest: datetime | None = None
    """When it may go out, while it waits its turn."""
    settled_by: str | None = None
    """Which operator said how it ended, after its effect was unknown."""
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
    for time in ("accepted", "send_at", "claimed", "settled", "earliest"):
        if time in values:
            values[time] = datetime.fromtimestamp(int(values[time]) / 1000, UTC)
    return Record(id=event_id, **values)


def find_record(client: "redis.Redis", event_id: UUID) -> Record | None:
    """Return the record of an event, or None when there is none (any more)."""
    reply: Any = client.hmget(keys.event(event_id), FIELDS)
    return parse_record(event_id, reply)


async def read_acceptances(client: "redis.asyncio.Redis", names: Iterable[str]) -> list[Any]:
    """Return when the events of these records were accepted, in ms since 1970, None for others."""
    times: list[Any] = await READ_ACCEPTANCES.run_async(client, list(names))
    return times


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


def count_unknown(client: "redis.Redis") -> int:
    """Return the number of events whose effect is unknown."""
    tenants: Any = client.smembers(keys.UNKNOWN_TENANTS)
    pipe = client.pipeline(transaction=False)
    for tenant in tenants:
        pipe.zcard(keys.unknown_of(tenant.decode()))
    return sum(pipe.execute())


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


def count_left_lanes(client: "redis.Redis", queues: Iterable[str]) -> dict[str, int]:
    """Return by queue how many lanes wait for a worker that knows their next event's version."""
    counts = dict.fromkeys(queues, 0)
    if not client.exists(*map(keys.newer_versions, counts)):
        return counts
    for queue in counts:
        versions: Any = client.smembers(keys.newer_versions(queue))
        held = [keys.newer_held(queue, version.decode()) for version in versions]
        counts[queue] = sum(int(client.scard(key)) for key in held)
    return counts


def count_scheduled(client: "redis.Redis", queue: str = "send") -> int:
    """Return how many events of a queue wait for their date; `total_waiting` counts them, too."""
    return int(client.zcard(keys.scheduled(queue)))


def scan_records(client: "redis.Redis", queue: str) -> Iterator[list[Record]]:
    """Yield all records of a queue, in batches of any size; in between Redis serves its clients."""
    cursor: int | None = None
    beginning = keys.event("")
    while cursor != 0:
        found: Any = client.scan(cursor or 0, keys.event("*"), SCAN_COUNT, "hash")
        cursor, names = found
        ids = [UUID(name.decode().removeprefix(beginning)) for name in names]
        batch = [each for each in find_records(client, ids).values() if each.queue == queue]
        if batch:
            yield batch

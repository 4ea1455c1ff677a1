"""Which keys of a Redis are an organization's own, and how they are copied to another Redis.

A key is its own when it is the record of an event of its tenants, a lane of theirs,
or when its name has an id of it: the organization, a number, an account, an event. Of hashes and
sets that all organizations share, the fields are its own that have an id of it. `KINDS` says of
each kind of key what becomes of it.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import redis

from shared.events import QUEUE_NAMES
from shared.lanes.types import LEVELS
from shared.redis import keys

SCAN_COUNT = 2000
COPY_COUNT = 100
OPEN = frozenset({"scheduled", "queued", "claimed", "unknown"})
"""States of events that may still change. The records of the rest stay as they are."""

BY_ID = "has an id of the organization in its name: copied"
BY_EVENT = "has the id of one of its events in its name: copied"
BY_TENANT = "is copied with its records and lanes"
FIELDS = "shared: the organization's own fields or members are copied"
REBUILT = "is rebuilt from records and lanes"
DRAINED = "is empty of it before it moves"
ANEW = "is found out anew on the other shard"
ELSEWHERE = "belongs to no organization, or to the shard"

KINDS: dict[str, str] = {
    **dict.fromkeys(("event", "lane", "lane_state", "unknown_events"), BY_TENANT),
    **dict.fromkeys(("delayed", "scheduled", "waiting", "waiting_bytes"), FIELDS),
    **dict.fromkeys(("UNKNOWN_TENANTS", "SCHEDULE_ORDER", "PACED", "WARM_UP_LEFT"), FIELDS),
    **dict.fromkeys(("RATE_LIMITED", "NUMBER_STATES"), FIELDS),
    **dict.fromkeys(("ready_lanes", "levels", "tenant_ring", "tenant_ring_members"), REBUILT),
    **dict.fromkeys(("tenants_aside", "gated_lanes", "newer_versions", "newer_held"), REBUILT),
    **dict.fromkeys(("newer_lanes", "newer_turns", "newer_bell", "bell"), REBUILT),
    **dict.fromkeys(("in_flight", "leases", "claim_reply", "lost_events"), DRAINED),
    **dict.fromkeys(("OUTBOX", "OUTBOX_TURNS", "OUTBOX_TAKEN", "OUTBOX_NEWER"), DRAINED),
    **dict.fromkeys(("outbox_ids", "OUTBOX_BELL", "changes"), DRAINED),
    **dict.fromkeys(("gate", "GATE_ENDS", "CLOSED_GATES"), ANEW),
    **dict.fromkeys(("ROUTES", "route", "account_route", "primary_route"), ANEW),
    **dict.fromkeys(("organization_routes", "token_lease", "token_bell", "file_link"), ANEW),
    **dict.fromkeys(("circuit_breaker", "account_breaker", "open_breakers"), ANEW),
    **dict.fromkeys(("breaker_calls", "circuit_breaker_probe", "account_breaker_probe"), ANEW),
    **dict.fromkeys(("token", "token_fence", "token_refusal", "token_pause"), BY_ID),
    **dict.fromkeys(("token_api_key", "pace", "pace_turns", "pace_recipient"), BY_ID),
    **dict.fromkeys(("pace_contact", "warm_up", "warm_up_waiting", "rate_limit"), BY_ID),
    **dict.fromkeys(("pending_integrations", "connecting", "removed", "pairing"), BY_ID),
    **dict.fromkeys(("click", "idempotency_key", "function_call", "unknown_of"), BY_ID),
    **dict.fromkeys(("health_check", "gap_check", "idle_check"), BY_ID),
    **dict.fromkeys(("payload", "current_task", "current_caption", "rate_place"), BY_EVENT),
}
"""What becomes of a kind of key, by its name in `shared/redis/keys.py`; not listed: `ELSEWHERE`."""

OWN = frozenset(
    ("token", "pace", "warm_up", "rate_limit", "pending", "connecting", "removed", "pairing")
) | {"click", "idempotency", "function_call", "unknown_of", "health_check", "gap_check"}
OWN |= {"idle_check"}
BESIDE_EVENTS = frozenset(("payload", "current_task", "current_caption", "rate_place"))
PASSING = frozenset(("lease", "bell"))
"""Keys of a token that only the process has which fetches it."""
PARTS = re.compile(r"[:{}]+")

EVENT = keys.event("")
LANE, STATE = keys.lane_state("*").split("*")


@dataclass
class Owned:
    """What was found of an organization. `records`: key of a record → state."""

    records: dict[str, str] = field(default_factory=dict)
    lanes: dict[str, str] = field(default_factory=dict)
    """Lane → queue."""
    others: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    """Keys that stand beside an event, of any organization."""
    unknown_lanes: set[str] = field(default_factory=set)
    waiting: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    """Queue and tenant → events that wait."""
    waiting_bytes: "Counter[tuple[str, str]]" = field(default_factory=Counter)

    def add(self, found: "Owned") -> None:
        self.records |= found.records
        self.lanes |= found.lanes
        self.others += found.others
        self.beside += found.beside
        self.unknown_lanes |= found.unknown_lanes
        self.waiting += found.waiting
        self.waiting_bytes += found.waiting_bytes

    @property
    def settled(self) -> list[str]:
        return [name for name, state in self.records.items() if state not in OPEN]

    @property
    def open_names(self) -> list[str]:
        """The keys that may have changed since the records of what has ended were copied."""
        changing = [name for name, state in self.records.items() if state in OPEN]
        lanes = [name for lane in self.lanes for name in (keys.lane(lane), keys.lane_state(lane))]
        return [*changing, *lanes, *self.others]

    @property
    def names(self) -> list[str]:
        return [*self.settled, *self.open_names]

    def beside_events(self) -> list[str]:
        """Return the keys that stand beside the events."""
        ids = {name.removeprefix(EVENT) for name in self.records}
        return [name for name in self.beside if not ids.isdisjoint(PARTS.split(name))]


def find_owned(
    client: "redis.Redis",
    ids: AbstractSet[str],
    tenants: AbstractSet[str],
    foreign: set[str] | None = None,
) -> Iterator[Owned]:
    """Read all keys in steps; yield what is the organization's own in each.

    `foreign`: records of further organizations, which a second look passes over; it is added to.
    """
    foreign = set() if foreign is None else foreign
    cursor = None
    while cursor != 0:
        reply: Any = client.scan(cursor or 0, keys.PREFIX + "*", SCAN_COUNT)
        cursor, found = reply
        owned = Owned()
        names = [name.decode() for name in found]
        records = [name for name in names if name.startswith(EVENT) and name not in foreign]
        _add_records(client, records, tenants, owned)
        foreign.update(name for name in records if name not in owned.records)
        states = [name for name in names if name.startswith(LANE) and name.endswith(STATE)]
        _add_lanes(client, states, tenants, owned)
        for name in names:
            kind, *parts = PARTS.split(name.removeprefix(keys.PREFIX))
            if kind in BESIDE_EVENTS:
                owned.beside.append(name)
            elif kind in OWN and not ids.isdisjoint(parts) and PASSING.isdisjoint(parts):
                owned.others.append(name)
        yield owned


def _add_records(
    client: "redis.Redis", names: list[str], tenants: Collection[str], owned: Owned
) -> None:
    pipe: Any = client.pipeline(transaction=False)
    for name in names:
        pipe.hmget(name, "tenant", "state", "queue", "bytes", "lane")
    for name, reply in zip(names, pipe.execute(), strict=True):
        tenant, state, queue, size, lane = (each.decode() if each else "" for each in reply)
        if tenant not in tenants:
            continue
        owned.records[name] = state
        if state == "unknown":
            owned.unknown_lanes.add(lane)
        elif state in OPEN:
            owned.waiting[queue, tenant] += 1
            owned.waiting_bytes[queue, tenant] += int(size or 0)


def _add_lanes(
    client: "redis.Redis", names: list[str], tenants: Collection[str], owned: Owned
) -> None:
    pipe: Any = client.pipeline(transaction=False)
    for name in names:
        pipe.hmget(name, "tenant", "queue")
    for name, reply in zip(names, pipe.execute(), strict=True):
        tenant, queue = (each.decode() if each else "" for each in reply)
        if tenant in tenants:
            owned.lanes[name.removeprefix(LANE).removesuffix(STATE)] = queue


def copy_keys(old: "redis.Redis", new: "redis.Redis", names: Iterable[str]) -> None:
    """Copy keys as they are, each with what is left of its lifetime."""
    remaining = iter(names)
    while part := list(islice(remaining, COPY_COUNT)):
        read: Any = old.pipeline(transaction=False)
        for name in part:
            read.dump(name)
            read.pttl(name)
        replies = iter(read.execute())
        write: Any = new.pipeline(transaction=False)
        for name, content, left_ms in zip(part, replies, replies, strict=False):
            if content is not None and left_ms != 0:
                write.restore(name, max(0, left_ms), content, replace=True)
        write.execute()


def copy_members(
    old: "redis.Redis", new: "redis.Redis", owned: Owned, tenants: list[str], ids: set[str]
) -> None:
    """Copy what is the organization's own of shared keys, and place its lanes."""
    write: Any = new.pipeline(transaction=False)
    for (queue, tenant), count in owned.waiting.items():
        write.hset(keys.waiting(queue), tenant, count)
        write.hset(keys.waiting_bytes(queue), tenant, owned.waiting_bytes[queue, tenant])
    _place_lanes(old, write, owned)
    _copy_scheduled(old, new, write, tenants)
    listed: Any = old.smembers(keys.UNKNOWN_TENANTS)
    for tenant in {each.decode() for each in listed}.intersection(tenants):
        write.sadd(keys.UNKNOWN_TENANTS, tenant)
    for each in ids:
        _copy_fields(old, write, each)
    write.execute()


def _copy_scheduled(
    old: "redis.Redis", new: "redis.Redis", write: Any, tenants: Collection[str]
) -> None:
    for queue in QUEUE_NAMES:
        for entry, at in _find_scheduled(old, queue, tenants):
            write.zadd(keys.scheduled(queue), {entry: at})
    here, there = (int(each.get(keys.SCHEDULE_ORDER) or 0) for each in (old, new))
    if here > there:
        write.incrby(keys.SCHEDULE_ORDER, here - there)


def _copy_fields(old: "redis.Redis", write: Any, an_id: str) -> None:
    """Copy what is kept of a number or an account in shared keys."""
    score: Any = old.zscore(keys.PACED, an_id)
    if score is not None:
        write.zadd(keys.PACED, {an_id: score})
    if old.sismember(keys.RATE_LIMITED, an_id):
        write.sadd(keys.RATE_LIMITED, an_id)
    for shared in (keys.WARM_UP_LEFT, keys.NUMBER_STATES):
        value: Any = old.hget(shared, an_id)
        if value is not None:
            write.hset(shared, an_id, value)


def _place_lanes(old: "redis.Redis", write: Any, owned: Owned) -> None:
    """Have each lane wait as it did for a time; the rest is ready, also what stands at a gate."""
    read: Any = old.pipeline(transaction=False)
    for lane, queue in owned.lanes.items():
        read.zscore(keys.delayed(queue), lane)
        read.hget(keys.lane_state(lane), "where")
    replies = iter(read.execute())
    for (lane, queue), due_ms, where in zip(owned.lanes.items(), replies, replies, strict=False):
        state = keys.lane_state(lane)
        write.hdel(state, "gate")
        if where == b"delayed" and due_ms is not None:
            write.zadd(keys.delayed(queue), {lane: due_ms})
        else:
            write.hset(state, "where", "ready")


def _find_scheduled(
    client: "redis.Redis", queue: str, tenants: Collection[str]
) -> Iterator[tuple[bytes, float]]:
    for entry, at in client.zscan_iter(keys.scheduled(queue), count=SCAN_COUNT):
        if entry.split(b"\n")[2].decode() in tenants:
            yield entry, at


def delete_all(
    client: "redis.Redis", owned: Owned, tenants: list[str], ids: Collection[str]
) -> None:
    """Delete what is the organization's own, its results on their way to Supabase apart."""
    for queue in QUEUE_NAMES:
        lanes = [lane for lane, of in owned.lanes.items() if of == queue]
        _remove(client, "zrem", keys.delayed(queue), lanes)
        entries = [entry for entry, _ in _find_scheduled(client, queue, tenants)]
        _remove(client, "zrem", keys.scheduled(queue), entries)
        for tenant in tenants:
            client.delete(*(keys.ready_lanes(queue, tenant, level) for level in LEVELS))
            client.lrem(keys.tenant_ring(queue), 0, tenant)
        for members in (keys.tenant_ring_members(queue), keys.tenants_aside(queue)):
            client.srem(members, *tenants)
        for fields in (keys.waiting(queue), keys.waiting_bytes(queue), keys.levels(queue)):
            client.hdel(fields, *tenants)
    for gate in client.scan_iter(keys.gated_lanes("*"), count=SCAN_COUNT):
        _remove(client, "srem", gate.decode(), list(owned.lanes))
    client.srem(keys.UNKNOWN_TENANTS, *tenants)
    client.zrem(keys.PACED, *ids)
    client.srem(keys.RATE_LIMITED, *ids)
    for shared in (keys.WARM_UP_LEFT, keys.NUMBER_STATES):
        client.hdel(shared, *ids)
    names = [*owned.names, *owned.beside_events(), *map(keys.unknown_events, owned.unknown_lanes)]
    remaining = iter(names)
    while part := list(islice(remaining, COPY_COUNT)):
        client.unlink(*part)


def _remove(client: "redis.Redis", command: str, name: str, members: list[Any]) -> None:
    remaining = iter(members)
    while part := list(islice(remaining, COPY_COUNT)):
        getattr(client, command)(name, *part)

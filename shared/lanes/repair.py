"""Repair of the lanes after keys were lost in Redis, for example by a partial restore.

The record of an event and the state of a lane say where each belongs. An index that lacks it, since
its key is missing, gets it back: a ready, delayed or claimed lane, an event of a lane, an unknown
event. Every key of Redis is read, in small steps between which Redis serves its clients.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Event as Flag
from typing import Any, TypeVar

import redis
import structlog

from shared.lanes.client import Lanes
from shared.lanes.types import LEVELS
from shared.redis import is_transient, keys

SCAN_COUNT = 500
"""Keys of one step of reading."""
REPAIR_COUNT = 20
"""Lanes or events of one step of repairing."""
OVERLAP = 100
REPAIR_EVERY_S = 3600.0
STEP_PAUSE_S = 0.005

PLACE_FIELDS = ("state", "lane", "accepted", "queue", "tenant", "order")
OPEN_STATES = {b"scheduled", b"queued", b"claimed", b"unknown"}

AnyItem = TypeVar("AnyItem")

log = structlog.get_logger(__name__)


def run_repairs(lanes: Lanes, stopping: Flag, every_s: float = REPAIR_EVERY_S) -> None:
    """Repair the lanes at once and every hour until told to stop; any number of processes may."""
    while True:
        try:
            if mended := repair(lanes, stopping):
                log.error(
                    "lanes.repaired", count=mended, hint="keys were missing (a partial restore?)"
                )
        except redis.RedisError as error:
            if not is_transient(error):
                raise
            log.warning("redis.away", error=str(error))
        if stopping.wait(every_s):
            return


def repair(lanes: Lanes, stopping: Flag | None = None) -> int:
    """Put back what is in no index; return the number of lanes, tenants and events put back."""
    stopping = stopping or Flag()
    survey = _Survey(lanes.client)
    survey.look_at_lanes(stopping)
    mended = sum(lanes.repair(lanes=batch) for batch in _batches(survey.displaced))
    mended += sum(lanes.repair(tenants=batch) for batch in _batches(sorted(survey.ready)))
    events = _list_displaced_events(lanes.client, stopping)
    return mended + sum(lanes.repair(events=batch) for batch in _batches(events))


class _Survey:
    """The lanes that do not stand where their state says; some of them moved meanwhile."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.displaced: list[str] = []
        self.ready: dict[tuple[str, str], set[str]] = {}
        """Ready lanes of a tenant, by queue and tenant, as they were when first looked at."""

    def look_at_lanes(self, stopping: Flag) -> None:
        beginning, end = keys.lane_state("*").split("*")
        for batch in _scan(self._client, keys.lane_state("*"), stopping):
            names = [key.decode().removeprefix(beginning).removesuffix(end) for key in batch]
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(keys.lane_state(name), "where", "queue", "tenant")
            states = [
                [value.decode() if value else "" for value in each] for each in pipe.execute()
            ]
            for name, (where, queue, _) in zip(names, states, strict=True):
                pipe.zscore(keys.leases(queue) if where == "claimed" else keys.delayed(queue), name)
            ends = pipe.execute()
            for name, (where, queue, tenant), place in zip(names, states, ends, strict=True):
                if where == "ready":
                    place = True if name in self._list_ready(queue, tenant) else None  # noqa: PLW2901
                if place is None:
                    self.displaced.append(name)

    def _list_ready(self, queue: str, tenant: str) -> set[str]:
        """Read lists in slices that overlap, since lanes leave them at the front meanwhile."""
        if (queue, tenant) not in self.ready:
            found: set[str] = set()
            for level in LEVELS:
                start, key = 0, keys.ready_lanes(queue, tenant, level)
                while lanes := self._client.lrange(key, start, start + SCAN_COUNT - 1):
                    found.update(lane.decode() for lane in lanes)
                    start += SCAN_COUNT - OVERLAP
            self.ready[queue, tenant] = found
        return self.ready[queue, tenant]


def _list_displaced_events(client: Any, stopping: Flag) -> list[str]:
    """Return events that are in no lane or list, the newest first, claimed ones last.

    In this order each can be put at the front of its lane.
    """
    found: list[tuple[bool, int, str]] = []
    prefix = keys.event("")
    for batch in _scan(client, keys.event("*"), stopping):
        ids = [key.decode().removeprefix(prefix) for key in batch]
        pipe = client.pipeline(transaction=False)
        for event_id in ids:
            pipe.hmget(keys.event(event_id), PLACE_FIELDS)
        open_events = [
            (event_id, dict(zip(PLACE_FIELDS, values, strict=True)))
            for event_id, values in zip(ids, pipe.execute(), strict=True)
            if values[0] in OPEN_STATES
        ]
        for event_id, event in open_events:
            _look_up(pipe, event_id, event)
        for (event_id, event), place in zip(open_events, pipe.execute(), strict=True):
            if place is None or place == [0]:
                accepted = int(event["accepted"])
                found.append((event["state"] == b"claimed", -accepted, event_id))
    return [event_id for *_, event_id in sorted(found)]


def _look_up(pipe: Any, event_id: str, event: dict[str, bytes]) -> None:
    """Ask where an event stands: in its lane, in the list of unknown events, in the schedule."""
    lane = event["lane"].decode()
    match event["state"]:
        case b"unknown":
            pipe.smismember(keys.unknown_events(lane), [event_id])
        case b"scheduled":
            order, tenant = int(event["order"]), event["tenant"].decode()
            entry = f"{order:016}\n{event_id}\n{tenant}\n{lane}"
            pipe.zscore(keys.scheduled(event["queue"].decode()), entry)
        case _:
            pipe.lpos(keys.lane(lane), event_id)


def _scan(client: Any, pattern: str, stopping: Flag) -> Iterator[list[bytes]]:
    """Yield the hashes whose key matches, step by step; they end when the process stops."""
    cursor = None
    while cursor != 0 and not stopping.wait(STEP_PAUSE_S):
        cursor, found = client.scan(cursor or 0, pattern, SCAN_COUNT, "hash")
        if found:
            yield found


def _batches(items: Iterable[AnyItem]) -> Iterator[list[AnyItem]]:
    remaining = iter(items)
    while batch := list(islice(remaining, REPAIR_COUNT)):
        yield batch

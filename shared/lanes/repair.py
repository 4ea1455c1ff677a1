"""Repair of the lanes after keys were lost in Redis, for example by a partial restore.

The record of an event and the state of a lane say where each belongs. An index that lacks it, since
its key is missing, gets it back: a ready, delayed or claimed lane, an event of a lane, an unknown
event. Every key of Redis is read, in small steps between which Redis serves its clients.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Event as Flag
from typing import Any

import redis
import structlog

from shared.lanes.client import Lanes
from shared.redis import is_transient, keys

SCAN_COUNT = 500
"""Keys of one step of reading."""
REPAIR_COUNT = 20
"""Lanes or events of one step of repairing."""
REPAIR_EVERY_S = 3600.0
STEP_PAUSE_S = 0.005

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
    """Put back what is in no index; return the number of lanes and events put back."""
    stopping = stopping or Flag()
    names = list(_find_displaced_lanes(lanes.client, stopping))
    mended = sum(lanes.repair(lanes=batch) for batch in _batches(names))
    events = _list_displaced_events(lanes.client, stopping)
    return mended + sum(lanes.repair(events=batch) for batch in _batches(events))


def _find_displaced_lanes(client: Any, stopping: Flag) -> Iterator[str]:
    """Yield the lanes that do not stand where their state says. Some of them moved meanwhile."""
    beginning, end = keys.lane_state("*").split("*")
    for batch in _scan(client, keys.lane_state("*"), stopping):
        names = [key.decode().removeprefix(beginning).removesuffix(end) for key in batch]
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.hmget(keys.lane_state(name), "where", "queue", "tenant")
        states = pipe.execute()
        for name, state in zip(names, states, strict=True):
            where, queue, tenant = (value.decode() if value else "" for value in state)
            if where == "ready":
                pipe.lpos(keys.ready_lanes(queue, tenant), name, maxlen=SCAN_COUNT)
            elif where == "claimed":
                pipe.zscore(keys.leases(queue), name)
            else:
                pipe.zscore(keys.delayed(queue), name)
        yield from (
            name for name, place in zip(names, pipe.execute(), strict=True) if place is None
        )


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
            pipe.hmget(keys.event(event_id), "state", "lane", "accepted")
        open_events = [
            (event_id, *(value.decode() for value in values))
            for event_id, values in zip(ids, pipe.execute(), strict=True)
            if values[0] in {b"queued", b"claimed", b"unknown"}
        ]
        for event_id, state, lane, _ in open_events:
            if state == "unknown":
                pipe.smismember(keys.unknown_events(lane), [event_id])
            else:
                pipe.lpos(keys.lane(lane), event_id)
        for (event_id, state, _, accepted), place in zip(open_events, pipe.execute(), strict=True):
            if place is None or place == [0]:
                found.append((state == "claimed", -int(accepted), event_id))
    return [event_id for *_, event_id in sorted(found)]


def _scan(client: Any, pattern: str, stopping: Flag) -> Iterator[list[bytes]]:
    """Yield the hashes whose key matches, step by step; they end when the process stops."""
    cursor = None
    while cursor != 0 and not stopping.wait(STEP_PAUSE_S):
        cursor, found = client.scan(cursor or 0, pattern, SCAN_COUNT, "hash")
        if found:
            yield found


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(items)
    while batch := list(islice(remaining, REPAIR_COUNT)):
        yield batch

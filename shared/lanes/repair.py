"""Repair of the lanes after keys were lost in Redis, for example by a partial restore.

The record of an event and the state of a lane say where each belongs. An index that lacks it, since
its key is missing, gets it back: a ready, delayed or claimed lane, an event of a lane, an unknown
event. Every key of Redis is read, in small steps between which Redis serves its clients.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from shared.lanes.client import Lanes
from shared.redis import keys

SCAN_COUNT = 500
"""Keys of one step of reading."""
REPAIR_COUNT = 20
"""Lanes or events of one step of repairing."""


def repair(lanes: Lanes) -> int:
    """Put back what is in no index; return the number of lanes and events put back."""
    names = list(find_displaced_lanes(lanes.client))
    mended = sum(lanes.repair(lanes=batch) for batch in _batches(names))
    return mended + sum(
        lanes.repair(events=batch) for batch in _batches(_list_events(lanes.client))
    )


def find_displaced_lanes(client: Any) -> Iterator[str]:
    """Yield the lanes that do not stand where their state says. Some of them moved meanwhile."""
    beginning, end = keys.lane_state("*").split("*")
    for batch in _scan(client, keys.lane_state("*")):
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


def _list_events(client: Any) -> list[str]:
    """Return events that are in no lane or list, the newest first, claimed ones last.

    In this order each can be put at the front of its lane.
    """
    found: list[tuple[bool, int, str]] = []
    prefix = keys.event("")
    for batch in _scan(client, keys.event("*")):
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


def _scan(client: Any, pattern: str) -> Iterator[list[bytes]]:
    yield from _batches(client.scan_iter(pattern, count=SCAN_COUNT, _type="hash"), SCAN_COUNT)


def _batches(items: Iterable[Any], count: int = REPAIR_COUNT) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, count)):
        yield batch

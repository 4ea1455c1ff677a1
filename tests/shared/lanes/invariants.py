"""What must be true of lanes at any moment, judged from the keys in Redis alone."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import redis

from shared.events import QUEUE_NAMES

LISTS = {"high": "ready_high", "normal": "ready", "low": "ready_low"}
"""Where the ready lanes of a level stand."""
RANKS = ("low", "normal", "high")
READ = {
    **dict.fromkeys(LISTS.values(), "lrange"),
    "levels": "hgetall",
    "scheduled": "zrange",
    "rr:tenants": "lrange",
    "rr:tenants:set": "smembers",
    "gated": "smembers",
    "unknown": "smembers",
    "unknown_tenants": "smembers",
}
READ |= {
    "aside": "smembers",
    "fleet": "hgetall",
    "busy": "hgetall",
    "waiting": "hgetall",
    "waiting_bytes": "hgetall",
    "leases": "zrange",
    "delayed": "zrange",
    "unknown_of": "zrange",
    "event": "hgetall",
}
SHARE = 4
"""Threads that a tenant may have, times those that are free then."""


def may_take(busy: int, free: float) -> bool:
    """Return whether a tenant with `busy` threads may take a further of the `free` threads."""
    return busy == 0 or busy + 1 <= SHARE * (free - 1)


class Invariants:
    """A picture of every key of the lanes, and what is wrong with it."""

    def __init__(self, client: "redis.Redis") -> None:
        self.faults: list[str] = []
        self.at: dict[str, dict[str, Any]] = defaultdict(dict)
        self._read(client)
        self._places()
        self._tenants()
        self._events()
        self._unknown_tenants()

    def _read(self, client: Any) -> None:
        names = sorted(key.decode().removeprefix("wpp:") for key in client.keys("wpp:*"))
        pipe = client.pipeline(transaction=False)
        found = []
        for name in names:
            family, _, rest = name.partition(":")
            if name.startswith("rr:tenants:"):
                family, rest = name.rsplit(":", 1)
            if family == "lane":
                family, rest = (
                    ("state", rest.removesuffix(":state"))
                    if rest.endswith(":state")
                    else ("lane", rest)
                )
            how = {"lane": "lrange", "state": "hgetall"}.get(family) or READ.get(family)
            if how:
                found.append((family, rest))
                arguments = {"lrange": (0, -1), "zrange": (0, -1)}.get(how, ())
                getattr(pipe, how)(
                    f"wpp:{name}", *arguments, **({"withscores": True} if how == "zrange" else {})
                )
        for (family, rest), value in zip(found, pipe.execute(), strict=True):
            self.at[family][rest] = plain(value)
        self.marked = {name for name, lanes in self.at["ready"].items() if lanes[0] == ""}
        """Tenants, as `queue:tenant`, whose next claim looks at all levels."""
        for name in self.marked:
            self.at["ready"][name].remove("")

    def must(self, holds: object, told: str) -> None:
        if not holds:
            self.faults.append(told)

    def _places(self) -> None:
        """Every lane is in a single place: where its state says."""
        places: dict[str, list[str]] = defaultdict(list)
        for family, word in (
            *((family, "ready") for family in LISTS.values()),
            ("leases", "claimed"),
            ("delayed", "delayed"),
            ("gated", "gated"),
        ):
            for lanes in self.at[family].values():
                for lane in lanes:
                    places[lane].append(word)
        for lane in {*places, *self.at["lane"], *self.at["state"]}:
            says, gate = self._is(lane, "where"), self._is(lane, "gate")
            self.must(
                places[lane] == (["delayed", "gated"] if says == "gated" else [says]),
                f"{lane}: {says}, in {places[lane]}",
            )
            self.must(lane in self.at["lane"] or says == "ready", f"{lane} is empty and {says}")
            self.must(
                (says == "gated") == (gate is not None), f"{lane} is {says}, its gate is {gate}"
            )
            self.must(
                gate is None or lane in self.at["gated"].get(gate, ()),
                f"{lane} does not stand at {gate}",
            )
            turn = f"{self._is(lane, 'queue')}:{self._is(lane, 'tenant')}"
            listed = [
                level for level, family in LISTS.items() if lane in self.at[family].get(turn, ())
            ]
            self.must(says != "ready" or listed, f"{lane} is not ready at {turn}")
            self._level(lane, listed)

    def _level(self, lane: str, listed: list[str]) -> None:
        """A lane counts its events of each level, and is ready at the level of its highest."""
        events = [self.at["event"].get(event, {}) for event in self.at["lane"].get(lane, ())]
        levels = Counter(event.get("level", "normal") for event in events)
        for level in ("high", "low"):
            counted = int(self._is(lane, level) or 0)
            self.must(counted == levels[level], f"{lane}: {counted} {level}, not {levels[level]}")
        highest = max((RANKS.index(level) for level in levels), default=0)
        for level in listed:  # that of an event that left it out of turn may remain
            self.must(RANKS.index(level) >= highest, f"{lane} is ready as {level}: {levels}")

    def _is(self, lane: str, name: str) -> str | None:
        found: dict[str, str] = self.at["state"].get(lane, {})
        return found.get(name)

    def _tenants(self) -> None:
        """Every tenant with ready lanes is in the rotation or has its share; counters are right."""
        for queue in QUEUE_NAMES:
            busy = Counter(self._is(lane, "tenant") for lane in self.at["leases"].get(queue, ()))
            ring = self.at["rr:tenants"].get(queue, [])
            self.must(
                sorted(ring) == sorted(self.at["rr:tenants:set"].get(queue, ())),
                f"{queue}: ring and its set differ",
            )
            self.must(counts(self.at["busy"].get(queue)) == busy, f"{queue}: busy is not {busy}")
            ready = {
                name.partition(":")[2]
                for family in LISTS.values()
                for name in self.at[family]
                if name.startswith(f"{queue}:")
            }
            self._levels(queue)
            aside = self.at["aside"].get(queue, set())
            threads = self.at["fleet"].get(queue, {}).get("total")
            free = int(threads) - busy.total() if threads else math.inf
            for tenant in ready - set(ring):
                self.must(tenant in aside, f"{queue}: nobody would ever look at {tenant} again")
                self.must(
                    not may_take(busy[tenant], free), f"{queue}: {tenant} could take a thread"
                )
            self.must(
                set(ring) <= ready, f"{queue}: in the ring without ready lanes: {set(ring) - ready}"
            )
            self._waiting(queue)

    def _levels(self, queue: str) -> None:
        """The next claim of a tenant with lanes of several levels looks at all of them."""
        levelled = {*self.at["ready_high"], *self.at["ready_low"]}
        for name in levelled:
            self.must(name in self.marked, f"{name} has no mark: {self.marked}")
        for name in self.marked:
            of, _, tenant = name.partition(":")
            counts = self.at["levels"].get(of, {})
            self.must(tenant in counts, f"{name} is marked, and its claims are not counted")
        for tenant in self.at["levels"].get(queue, ()):
            self.must(f"{queue}:{tenant}" in self.marked, f"{tenant} is counted, and not marked")

    def _waiting(self, queue: str) -> None:
        """Events, and their bytes, are counted for their tenants."""
        count, size = Counter[str | None](), Counter[str | None]()
        waiting = [*self._inside(), *self._scheduled()]
        for event in map(self.at["event"].get, waiting):
            if event and event["queue"] == queue:
                count[event["tenant"]] += 1
                size[event["tenant"]] += int(event["bytes"])
        for name, expected in (("waiting", count), ("waiting_bytes", size)):
            found = counts(self.at[name].get(queue))
            self.must(found == expected, f"{queue}: {name} is {found}, not {expected}")

    def _unknown_tenants(self) -> None:
        """Every tenant with unknown events is in the set of these tenants."""
        listed = self.at["unknown_tenants"].get("", set())
        self.must(listed == set(self.at["unknown_of"]), f"tenants of unknown events: {listed}")

    def _inside(self) -> Iterable[str]:
        return (event for lane in self.at["lane"].values() for event in lane)

    def _scheduled(self) -> list[str]:
        return [entry.split("\n")[1] for each in self.at["scheduled"].values() for entry in each]

    def _events(self) -> None:
        """Every event is in its lane until it is settled; a claimed head is in a claimed lane."""
        where, scheduled = Counter(self._inside()), Counter(self._scheduled())
        for event, record in self.at["event"].items():
            name = record.get("lane", "")
            lane = self.at["lane"].get(name, [])
            inside = record["state"] in ("queued", "claimed")
            self.must(
                where[event] == inside and (event in lane) == inside,
                f"{event} is {record['state']}, in {where[event]} lanes",
            )
            is_later = record["state"] == "scheduled"
            self.must(
                scheduled[event] == is_later, f"{event} is {record['state']}, and in the schedule"
            )
            claimed = inside and lane[:1] == [event] and self._is(name, "where") == "claimed"
            self.must(
                claimed == (record["state"] == "claimed"),
                f"{event} is {record['state']}, its lane is not",
            )
            can_be_resolved = record["state"] == "unknown" and "body" in record
            listed = [each for each, events in self.at["unknown"].items() if event in events]
            self.must(
                listed == ([name] if can_be_resolved else []),
                f"{event}: {record['state']}, listed: {listed}",
            )
            indexed = event in self.at["unknown_of"].get(record["tenant"], ())
            self.must(indexed == can_be_resolved, f"{event}: {record['state']}, indexed: {indexed}")
            ended = not inside and record["state"] not in ("unknown", "scheduled")
            self.must(
                ended != ("body" in record),
                f"{event} is {record['state']}: its body should be there or not",
            )


def counts(found: dict[str, str] | None) -> Counter[str | None]:
    return Counter({name: int(count) for name, count in (found or {}).items()})


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.decode(): content.decode() for name, content in value.items()}
    if value and isinstance(value, list) and isinstance(value[0], (tuple, list)):
        return {name.decode(): score for name, score in value}
    return type(value)(item.decode() for item in value)

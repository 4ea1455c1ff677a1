"""The page Lanes: what waits, why, and until when.

Each look costs the same however many lanes there are: closed gates and paced numbers have indexes
of their own, and of the lanes that wait for a time or are in work, so many are looked at per kind.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Annotated, Any
from uuid import UUID

import redis
from fastapi import APIRouter, Query

from shared import routing
from shared.events import QUEUE_NAMES
from shared.lanes.records import total_waiting
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.send.paced_numbers import find_waiting
from workers.status import find_gates, read_paced

LOOK = 100
"""Lanes of a kind and place that a look reads."""
MAX_GATES = 200
MAX_TENANTS = 100

router = APIRouter(prefix="/console/data/lanes", include_in_schema=False)


@router.get("")
def get_lanes(
    operator: OperatorDep,
    state: StateDep,
    organization: UUID | None = None,
    number: UUID | None = None,
    first: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> dict[str, Any]:
    """Return what waits, of all, of an organization, or of a number. `first`: look further."""
    del operator  # asked for because it has to be signed in
    clients = state.clients.by_name.values()
    return join_looks([Look(each, organization, number).read(first) for each in clients])


def join_looks(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what waits on all shards as that of one."""
    first, *more = found
    for each in more:
        for name in ("waiting", "held", "paced", "lanes"):
            first[name] += each[name]
        first["next"] = first["next"] or each["next"]
    first["waiting"].sort(key=itemgetter("events"), reverse=True)
    return first


class Look:
    """A look at the lanes of all, of an organization, or of a number."""

    def __init__(
        self, client: "redis.Redis", organization: UUID | None, number: UUID | None
    ) -> None:
        self._client = client
        self._organization = str(organization) if organization else None
        self._number = str(number) if number else None
        self._routes: dict[str, IntegrationRoute] = {}

    def read(self, first: int) -> dict[str, Any]:
        """Return counts, closed gates, paced numbers, and lanes from the `first` on."""
        lanes = list(self._read_lanes(first))
        gates = find_gates(self._client)
        paced = self._read_paced()
        numbers = {each["number"] for each in (*lanes, *paced) if each["number"]}
        self._load_routes({*numbers, *filter(None, map(_number_of_gate, _names(gates)))})
        return {
            "waiting": self._count_waiting(),
            "held": list(self._describe_gates(gates))[:MAX_GATES],
            "paced": [self._about(each) for each in paced if self._concerns(each["number"], "")],
            "lanes": [
                self._about(each)
                for each in lanes
                if self._concerns(each["number"], each["organization"])
            ],
            "first": first,
            "next": first + LOOK if self._has_more(first + LOOK) else None,
        }

    def _count_waiting(self) -> list[dict[str, Any]]:
        """Return the tenants with the most that waits; of webhooks and files they are accounts."""
        found: list[dict[str, Any]] = [
            {"organization": tenant, "kind": kind, "events": count}
            for kind, tenants in total_waiting(self._client, QUEUE_NAMES).items()
            for tenant, count in tenants.items()
            if self._organization in {None, tenant}
        ]
        return sorted(found, key=itemgetter("events"), reverse=True)[:MAX_TENANTS]

    def _describe_gates(self, gates: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the closed gates that concern what is looked at; that of the platform holds all."""
        since: Any = self._client.hgetall(keys.CLOSED_GATES)
        for gate in gates:
            number = _number_of_gate(gate["gate"])
            if gate["gate"] == routing.PLATFORM_GATE or self._concerns(number, ""):
                closed_ms = since.get(gate["gate"].encode())
                yield self._about(
                    {**gate, "number": number, "since_ms": int(closed_ms) if closed_ms else None}
                )

    def _read_paced(self) -> list[dict[str, Any]]:
        if self._number:
            (found,) = find_waiting(self._client, [UUID(self._number)])
            waiting = [
                {"number": self._number, "waiting": found.waiting, "for_s": found.last_turn_s}
            ]
            return [each for each in waiting if each["waiting"]]
        return [
            {**each, "number": str(each["integration_id"])}
            for each in read_paced(self._client)["numbers"]
        ]

    def _has_more(self, first: int) -> bool:
        pipe = self._client.pipeline(transaction=False)
        for kind in QUEUE_NAMES:
            pipe.zcard(keys.delayed(kind))
            pipe.zcard(keys.leases(kind))
        return bool(max(pipe.execute()) > first)

    def _read_lanes(self, first: int) -> Iterator[dict[str, Any]]:
        """Yield lanes in work, those that wait for a time, and why: those due soonest first."""
        clock: Any = self._client.hmget(keys.LANE_CLOCK, "lanes", "wall")
        now_ms, wall_ms = (int(each or 0) for each in clock)
        found = list(self._list_places(first))
        pipe = self._client.pipeline(transaction=False)
        for _, lane, _, _ in found:
            pipe.hmget(keys.lane_state(lane), "where", "gate", "tenant")
            pipe.lindex(keys.lane(lane), 0)
            pipe.llen(keys.lane(lane))
        replies = iter(pipe.execute())
        states = list(zip(replies, replies, replies, strict=False))
        for _, head, _ in states:
            name = head.decode() if head else ""
            pipe.hmget(keys.event(name), "reason", "attempts", "accepted", "send_at", "earliest")
        for (kind, lane, until_ms, in_work), (state, head, events), event in zip(
            found, states, pipe.execute(), strict=True
        ):
            if head is None:
                continue
            where, gate, tenant = (each.decode() if each else "" for each in state)
            reason, attempts, accepted, send_at, earliest = (
                each.decode() if each else "" for each in event
            )
            yield {
                "kind": kind,
                "lane": lane,
                "number": _number_of_lane(lane),
                "organization": tenant,
                "state": _name_state(where, earliest, in_work=in_work),
                "gate": gate if where == "gated" else None,
                "events": events,
                "event_id": head.decode(),
                "attempts": int(attempts or 0),
                "reason": reason or None,
                "left_s": max(0.0, (until_ms - now_ms) / 1000),
                "age_s": max(0.0, (wall_ms - int(send_at or accepted or wall_ms)) / 1000),
            }

    def _list_places(self, first: int) -> Iterator[tuple[str, str, float, bool]]:
        for kind in QUEUE_NAMES:
            for place, in_work in ((keys.leases(kind), True), (keys.delayed(kind), False)):
                found: Any = self._client.zrange(place, first, first + LOOK - 1, withscores=True)
                for lane, until_ms in found:
                    yield kind, lane.decode(), until_ms, in_work

    def _load_routes(self, numbers: Iterable[str]) -> None:
        wanted = sorted(numbers)
        stored: Any = self._client.mget([keys.route(each) for each in wanted]) if wanted else []
        self._routes = {
            each: IntegrationRoute.model_validate_json(route)
            for each, route in zip(wanted, stored, strict=True)
            if route
        }

    def _concerns(self, number: str | None, organization: str) -> bool:
        """Return whether a number, or a tenant, is among what is looked at."""
        route = self._routes.get(number or "")
        owner = str(route.organization_id) if route else organization
        return self._number in {None, number} and self._organization in {None, owner}

    def _about(self, found: dict[str, Any]) -> dict[str, Any]:
        """Add what is known of a number."""
        route = self._routes.get(found["number"] or "")
        named = (
            {"organization": str(route.organization_id), "name": route.name, "of": route.account}
            if route
            else {}
        )
        return {"organization": None, "name": None, "of": None, **found, **named}


def _names(gates: Iterable[dict[str, Any]]) -> list[str]:
    return [gate["gate"] for gate in gates]


def _number_of_gate(gate: str) -> str | None:
    kind, _, name = gate.partition(":")
    return name if kind == "integration" else None


def _number_of_lane(lane: str) -> str | None:
    found = routing.read_integration_id(lane)
    return str(found) if found else None


def _name_state(where: str, earliest: str, *, in_work: bool) -> str:
    if in_work:
        return "in work"
    if where == "gated":
        return "held"
    return "paced" if earliest else "backing off"

"""Lanes on a real Redis, with time in the test's own hand: what is later is rewritten to be now."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import redis

from shared.events import WebhookEvent
from shared.lanes import records
from shared.lanes.client import MAX_SCANS, Lanes
from shared.lanes.types import Append, Claim, ClaimSequence, Settled, State
from shared.lanes.wire import dump_model, fingerprint
from shared.outcomes import SessionOutcome
from shared.redis import keys
from shared.settings import EngineSettings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def outcome(told: object) -> SessionOutcome:
    """Return an outcome that is recognised by its text."""
    return SessionOutcome(at=NOON, account="a", status="connected", reason=str(told))


def settled(state: State, told: object | None = None) -> Settled:
    return Settled(state, [] if told is None else [outcome(told)])


class LaneHarness:
    def __init__(self, client: "redis.Redis", max_scans: int = MAX_SCANS, **engine: Any) -> None:
        self.client: Any = client
        self.lanes = Lanes(client, EngineSettings(**engine), max_scans)
        self.sequence = ClaimSequence()

    def item(self, lane: str, told: object = "", **more: Any) -> Append:
        """Return an append of a new event with the text `told`; options override its fields."""
        event = WebhookEvent(
            id=more.pop("id", None) or uuid4(), account="a", payload={"told": told}
        )
        return Append(
            id=event.id,
            body=dump_model(event),
            fingerprint=more.pop("fingerprint", None)
            or fingerprint(event.model_dump(mode="json", exclude={"id", "accepted_at"})),
            lane=lane,
            queue=more.pop("queue", "send"),
            tenant=more.pop("tenant", "one"),
            **more,
        )

    def append(self, lane: str, told: object = "", **more: Any) -> UUID:
        return self.lanes.append(self.item(lane, told, **more)).id

    def claim(self, queue: str = "send", sequence: ClaimSequence | None = None) -> Claim:
        """Claim what is ready; it is an error of the test if nothing is."""
        found = self.lanes.claim(queue, sequence or self.sequence)
        assert found, "nothing is ready"
        return found

    def nothing_ready(self, queue: str = "send") -> bool:
        return self.lanes.claim(queue, ClaimSequence()) is None

    def claims(self, queue: str = "send") -> Iterator[Claim]:
        """Claim on until nothing is ready. What is claimed is left to the caller."""
        while found := self.lanes.claim(queue, self.sequence):
            yield found

    def conclude(self, claim: Claim, state: State = "sent", told: object | None = None) -> bool:
        return self.lanes.conclude(claim, settled(state, told))[0]

    def take_over(self, queue: str = "send") -> Claim:
        """End every lease now and sweep; return the only claim that is taken over."""
        self.end(f"leases:{queue}")
        [claim] = self.lanes.sweep(queue).expired_claims
        return claim

    def step_clock(self, ms: int) -> None:
        """Let the wall clock of Redis have stepped since the last call, by `ms` from then on."""
        self.client.hincrby(keys.LANE_CLOCK, "wall", -ms)

    def end(self, zset: str) -> None:
        """Let everything in `leases:{queue}` or `delayed:{queue}` be over now."""
        for lane in self.client.zrange(f"wpp:{zset}", 0, -1):
            self.client.zadd(f"wpp:{zset}", {lane: 1})

    def due(self, queue: str = "send") -> None:
        """Let everything that is delayed or postponed be due now."""
        for lane in self.client.zrange(f"wpp:delayed:{queue}", 0, -1):
            head: Any = self.client.lindex(f"wpp:lane:{lane.decode()}", 0)
            self.client.hdel(f"wpp:event:{head.decode()}", "due")
        self.end(f"delayed:{queue}")

    def bell(self, queue: str = "send") -> int:
        """Return how many tokens the bell of `queue` has."""
        return int(self.client.llen(keys.bell(queue)))

    def state(self, event_id: UUID) -> State | None:
        found = records.find_record(self.client, event_id)
        return found.state if found else None

    def told(self, body: bytes) -> Any:
        return WebhookEvent.model_validate_json(body).payload["told"]

    def outbox(self) -> list[str]:
        """Return what the outcomes in the outbox tell, oldest first."""
        rows: Any = self.client.xrange("wpp:outbox")
        return [SessionOutcome.model_validate_json(fields[b"r"]).reason for _, fields in rows]

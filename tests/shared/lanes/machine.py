"""The state machine over lanes: a real Redis, the model, and their comparison."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

from hypothesis.stateful import RuleBasedStateMachine

from shared.events import QUEUE_NAMES, utc_now
from shared.lanes import wire
from shared.lanes.scripts import load_script
from shared.lanes.types import (
    Append,
    Claim,
    ClaimResult,
    ClaimSequence,
    Exchange,
    LaneLevel,
    Postponed,
    Settled,
    State,
)
from shared.redis import keys
from tests.shared.lanes.harness import LaneHarness, outcome
from tests.shared.lanes.invariants import Invariants, may_take
from tests.shared.lanes.model import ENDS, Lane, Model

THREADS = 3
"""A tenant that is alone may have two of them, and a single thread beside another tenant."""
HOUR_S = 3600
LASTING_KEYS = {
    "event",
    "reply",
    "fence",
    "fleet",
    "outbox",
    "last_sweep",
    "clock",
    "schedule_order",
}
TRANSIENT_KEYS = (
    set(re.findall(r"^--   (\w+)", load_script("places").source, re.MULTILINE)) - LASTING_KEYS
)
"""The keys of the lanes, as `lua/places.lua` lists them, that end with the last event."""


@dataclass(frozen=True)
class Say:
    """What a worker makes of a claim: how it ends or when to try again, and what follows it."""

    state: State
    later: bool = False
    follow: str | None = None
    run: int = 0
    """How many events behind the claimed event end as well, at most."""


@dataclass
class Held:
    """A claim that a slow worker holds, and the results it has sent so far, heard or not."""

    claim: Claim
    said: ClaimResult | None = None


class Worker:
    def __init__(self) -> None:
        self.sequence = ClaimSequence()
        self.unheard: Claim | None = None
        """What its last claim got, if the reply was lost."""


class LaneMachine(RuleBasedStateMachine):
    client: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        # Few scans, so that lanes which have to wait stand in front now and then.
        self.harness = LaneHarness(self.client, max_scans=2, wpp_lease_s=HOUR_S)
        # No lease ends by itself, however slow the machine is: neither a worker's nor a sweeper's.
        self.harness.lanes.takeover_s = HOUR_S
        self.harness.lanes.runs = dict.fromkeys(QUEUE_NAMES, 3)
        for queue in QUEUE_NAMES:
            self.client.hset(keys.fleet(queue), "total", THREADS)  # without a time to live
        self.told_more: set[str] = set()
        """Queues of which a claimer was told that more may be ready: it asks again unasked."""
        self.model = Model(THREADS)
        self.workers = [Worker() for _ in range(2)]
        self.held: list[Held] = []
        """Claims that workers believe to hold, valid or not, concluded ones included."""

    def item(
        self,
        name: str,
        *,
        event_id: UUID | None = None,
        delayed: bool = False,
        level: LaneLevel = "normal",
        scheduled: bool = False,
    ) -> Append:
        lane = self.model.lanes[name]
        delay_s = HOUR_S if delayed else 0
        return self.harness.item(
            name,
            id=event_id,
            queue=lane.queue,
            tenant=lane.tenant,
            gates=lane.gates,
            delay_s=delay_s,
            level=level,
            send_at=utc_now() + timedelta(days=300) if scheduled else None,
        )

    def verdict(self, claim: Claim, say: Say) -> ClaimResult:
        told = [outcome(f"{claim.id}:{claim.fence}:{say.state}")]
        if say.state == "queued":
            return Postponed(HOUR_S if say.later else 0, "not now", told)
        follow = [self.item(say.follow, event_id=uuid4(), delayed=say.later)] if say.follow else []
        behind = claim.following[: say.run] if say.state in ENDS else ()
        run = [
            (each, Settled(say.state, [outcome(f"{each.id}:{claim.fence}:{say.state}")]))
            for each in behind
        ]
        return Settled(say.state, told, {}, follow, run)

    def say(self, held: Held, say: Say, sequence: ClaimSequence | None) -> Claim | None:
        """Conclude, in the same way after a lost reply; it counts when the model says so."""
        held.said = held.said or self.verdict(held.claim, say)
        counts = self.expect(held.claim, held.said)
        text = wire.dump_result(held.claim, held.said, self.harness.lanes.settings)
        found = self.exchange(held.claim.queue, sequence, [text])
        assert found.counted == [counts]
        return next(iter(found.claims), None)

    def exchange(
        self, queue: str, sequence: ClaimSequence | None, results: Sequence[str] = ()
    ) -> Exchange:
        """Conclude, and claim an event if there is a sequence; ask again as workers do."""
        count = 1 if sequence else 0
        sequence = sequence or ClaimSequence()
        found = self.harness.lanes.exchange(queue, sequence, count, results)
        while count and not found.claims and found.more:
            further = self.harness.lanes.exchange(queue, sequence, count)
            found = Exchange(found.counted, further.claims, further.more)
        if found.more:
            self.told_more.add(queue)
        elif count:
            self.told_more.discard(queue)
        return found

    def expect(self, claim: Claim, verdict: ClaimResult) -> bool:
        """Tell the model of a verdict; return whether it counts."""
        postponed = isinstance(verdict, Postponed) and verdict.delay_s > 0
        state: State = "queued" if isinstance(verdict, Postponed) else verdict.state
        record = self.model.records[claim.id]
        holds = record.state == "claimed" and record.lane.holder == claim.fence
        counts, changes = self.model.conclude(record, claim.fence, state, postponed=postponed)
        if changes and isinstance(verdict, Settled):
            if holds:
                ends = [(each.id, end.state) for each, end in verdict.run]
                self.model.end_run(record.lane, claim.fence, ends)
            for item in verdict.follow:
                self.model.append(item.id, self.model.lanes[item.lane], early=item.delay_s > 0)
        return counts

    def take(self, worker: Worker, queue: str, *, lost: bool) -> Claim | None:
        found = next(iter(self.exchange(queue, worker.sequence).claims), None)
        self.received(worker, queue, found, lost=lost)
        return found

    @contextmanager
    def ringing(self) -> Iterator[None]:
        """Each lane that becomes ready meanwhile rings the bell of its queue."""
        ready = self._ready()
        bells = {queue: self.harness.bell(queue) for queue in QUEUE_NAMES}
        yield
        for queue in QUEUE_NAMES:
            new = [name for name in self._ready() - ready if self.model.lanes[name].queue == queue]
            assert self.harness.bell(queue) - bells[queue] >= len(new), f"{new}: no bell was rung"

    def _ready(self) -> set[str]:
        return {
            name
            for name in self.model.lanes
            if self.client.hget(f"wpp:lane:{name}:state", "where") == b"ready"
        }

    def workable(self, queue: str) -> bool:
        """Return whether a thread would find something to look at, were it woken now."""
        return any(
            may_take(self.model.busy(queue, lane.tenant), self.model.free(queue))
            for lane in self.model.lanes.values()
            if lane.queue == queue and lane.name in self._ready()
        )

    def received(self, worker: Worker, queue: str, found: Claim | None, *, lost: bool) -> None:
        """Check what a claim got. If its reply is lost, the worker will ask for the same again."""
        unheard, worker.unheard = worker.unheard, None
        if (
            unheard
            and unheard.queue == queue
            and self.model.lanes[unheard.lane].holder == unheard.fence
        ):
            assert found, "a claim whose reply was lost is given again"
            assert (found.id, found.fence) == (unheard.id, unheard.fence)
            self.model.lanes[found.lane].ended = False
        elif found:
            self.validate(found)
        else:
            assert self.ready(queue) == [], "a ready lane was passed by"
            assert not self.harness.bell(queue), "a token is left though nothing is ready"
        if lost:
            worker.sequence.number -= 1
            worker.unheard = found or unheard
        elif found:
            self.held.append(Held(found))

    def validate(self, claim: Claim) -> None:
        """A claim is for the head of a free lane that neither a gate nor a delay holds."""
        lane = self.model.lanes[claim.lane]
        assert self.model.may_be_claimed(lane)
        assert lane.ids[0] == claim.id
        behind = [each.id for each in claim.following]
        assert behind == lane.ids[1 : 1 + len(behind)]
        assert all(self.model.records[each].state == "queued" for each in behind)
        assert not any(self.model.records[each].early for each in behind)
        self.model.claimed(self.model.records[claim.id], claim.fence)

    def ready(self, queue: str) -> list[str]:
        """Return lanes that stand ready, with a head that may be claimed."""
        found = [
            lane
            for lane in self.model.lanes.values()
            if lane.queue == queue and self.model.may_be_claimed(lane)
        ]
        return [
            lane.name
            for lane in found
            if self.client.hget(f"wpp:lane:{lane.name}:state", "where") == b"ready"
        ]

    def compare(self) -> None:
        """No event is lost, doubled or out of order; no lane early or forgotten; keys are sound."""
        truth = Invariants(self.client)
        assert truth.faults == []
        assert truth.at["lane"] == {
            lane.name: [*map(str, lane.ids)] for lane in self.model.lanes.values() if lane.ids
        }
        states = {event: record["state"] for event, record in truth.at["event"].items()}
        assert states == {str(record.id): record.state for record in self.model.records.values()}
        assert self.harness.outbox() == self.model.outbox
        for lane in self.model.lanes.values():
            self._stands_where_it_should(truth, lane)
        for queue in QUEUE_NAMES:
            awaited = queue in self.told_more or self.harness.bell(queue)
            assert awaited or not self.workable(queue), (
                f"{queue}: no bell was rung for what is ready"
            )

    def _stands_where_it_should(self, truth: Invariants, lane: Lane) -> None:
        where = truth.at["state"].get(lane.name, {}).get("where")
        due = truth.at["delayed"].get(lane.queue, {}).get(lane.name, 0) <= 1
        head = self.model.records[lane.ids[0]] if lane.ids else None
        if where == "ready":
            assert not lane.postponed
        elif where == "delayed":
            assert lane.postponed or (head and head.early) or due
        elif where == "gated":
            gate = truth.at["state"][lane.name]["gate"]
            assert gate in lane.gates
            assert due or (gate in self.model.closed and head and not head.expired)
        assert (where == "claimed") == bool(lane.holder)

    def nothing_is_left(self) -> None:
        """Every event ends exactly once, and once more for each time it is put back."""
        self.compare()
        families = {key.decode().split(":")[1] for key in self.client.keys("wpp:*")}
        known = {record.id: record.state != "unknown" for record in self.model.records.values()}
        left = families & TRANSIENT_KEYS
        if not all(known.values()):
            left -= {"unknown", "unknown_of", "unknown_tenants"}
        assert not left, f"keys are left behind: {left}"
        told = [line.split(":") for line in self.model.outbox]
        ends = Counter(event for event, _, state in told if state in (*ENDS, "cancelled"))
        assert all(ends[str(r.id)] == r.replays + known[r.id] for r in self.model.records.values())

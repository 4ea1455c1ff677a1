"""A state machine over lanes: crashes, pauses, lost replies, ended leases, gates, replays.

Hypothesis chooses the steps, `model` the expected state, `invariants` what always holds; a
real Redis runs the scripts.
"""

from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.lanes.types import Claim, LaneLevel, Settled, State
from shared.redis import keys
from tests.shared.lanes.harness import outcome
from tests.shared.lanes.machine import HOUR_S, Held, LaneMachine, Say
from tests.shared.lanes.model import Lane, Record

LANES = st.sampled_from(["a1", "a2", "a3", "b1", "w1"])
WORKERS = st.integers(0, 1)
LEVEL = st.sampled_from(["normal", "normal", "high", "low"])
KINDS = st.sampled_from(["send", "send", "send", "webhook"])
GATES = st.sampled_from("gh")
PICK = st.integers(0, 7)
"""Which of the claims that workers hold, modulo how many there are."""
SAYINGS = st.builds(
    Say,
    state=st.sampled_from(["sent", "failed", "unknown", "queued"]),
    later=st.booleans(),
    follow=st.none() | LANES,
    run=st.integers(0, 3),
)
CLOCK_SAYINGS = st.sampled_from([Say("unknown"), Say("queued"), Say("queued", later=True)])


class LaneStateMachine(LaneMachine):
    @initialize()
    def begin_with_work(self) -> None:
        for name in [*self.model.lanes, "a1", "b1"]:
            self.append(name, delayed=False)

    @precondition(lambda self: len(self.model.records) < 20)
    @rule(name=LANES, delayed=st.booleans(), level=LEVEL)
    def append(self, name: str, *, delayed: bool, level: LaneLevel = "normal") -> None:
        """An event appended twice exists once; the second reply has its state."""
        item = self.item(name, delayed=delayed, level=level)
        with self.ringing():
            assert self.harness.lanes.append(item).new
        self.model.append(item.id, self.model.lanes[name], early=delayed)
        record = next(iter(self.model.records.values()))
        answer = self.harness.lanes.append(self.item(record.lane.name, event_id=record.id))
        assert (answer.new, answer.state) == (False, record.state)

    @precondition(lambda self: len(self.model.records) < 20)
    @rule(name=LANES, level=LEVEL)
    def schedule(self, name: str, level: LaneLevel) -> None:
        """It stands in no lane, and holds none up."""
        item = self.item(name, level=level, scheduled=True)
        for new in (True, False):
            answer = self.harness.lanes.append(item)
            assert (answer.new, answer.state) == (new, "scheduled")
        self.model.append(item.id, self.model.lanes[name], early=False, scheduled=True)

    def scheduled(self, queue: str) -> list[Record]:
        return [
            record
            for record in self.model.records.values()
            if record.state == "scheduled" and record.lane.queue == queue
        ]

    @precondition(lambda self: self.scheduled("send"))
    @rule(pick=PICK, swept=st.integers(1, 2))
    def date_comes(self, pick: int, swept: int) -> None:
        """It enters its lane as the last, once, however many clocks sweep."""
        scheduled = self.scheduled("send")
        record = scheduled[pick % len(scheduled)]
        self.let_be_due(record)
        for _ in range(swept):
            self.sweep("send", Say("unknown"))

    def all_dates_come(self) -> None:
        for record in [*self.scheduled("send"), *self.scheduled("webhook")]:
            self.let_be_due(record)

    def let_be_due(self, record: Record) -> None:
        schedule = keys.scheduled(record.lane.queue)
        for entry in self.client.zrange(schedule, 0, -1):
            if str(record.id).encode() in entry:
                self.client.zadd(schedule, {entry: 1})
        self.model.enter_due(record)

    @precondition(lambda self: self.model.records)
    @rule(data=st.data(), times=st.integers(1, 2))
    def cancel(self, data: st.DataObject, times: int) -> None:
        """What waits never begins; what has begun or ended stays as it is."""
        record = data.draw(st.sampled_from(list(self.model.records.values())))
        lane = record.lane
        end = Settled("cancelled", [outcome(f"{record.id}:cancel:cancelled")])
        with self.ringing():
            for _ in range(times):
                answer = self.harness.lanes.cancel(record.id, lane.queue, lane.tenant, end)
                assert answer == self.model.cancel(record)

    @rule(who=WORKERS, queue=KINDS, lost=st.booleans())
    def claim(self, who: int, queue: str, *, lost: bool) -> None:
        self.take(self.workers[who], queue, lost=lost)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, who=WORKERS, say=SAYINGS, lost=st.booleans())
    def conclude_and_go_on(self, pick: int, who: int, say: Say, *, lost: bool) -> None:
        """The claim may be old and concluded: a worker without a reply repeats its result."""
        held = self.held[pick % len(self.held)]
        found = self.say(held, say, self.workers[who].sequence)
        self.received(self.workers[who], held.claim.queue, found, lost=lost)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, say=SAYINGS)
    def conclude_and_stop(self, pick: int, say: Say) -> None:
        held = self.held[pick % len(self.held)]
        with self.ringing():
            assert self.say(held, say, None) is None

    @precondition(lambda self: self.held)
    @rule(pick=PICK, crash=st.sampled_from([False, False, True]))
    def extend_or_crash(self, pick: int, *, crash: bool) -> None:
        held = self.held[pick % len(self.held)]
        if crash:
            self.held.remove(held)
            return
        lane = self.model.lanes[held.claim.lane]
        valid = lane.holder == held.claim.fence
        assert self.harness.lanes.extend(held.claim) == valid
        lane.ended = lane.ended and not valid

    @precondition(
        lambda self: any(lane.holder or lane.postponed for lane in self.model.lanes.values())
    )
    @rule(pick=PICK)
    def time_comes(self, pick: int) -> None:
        """A lease ends, or what the lane's head was delayed or postponed for is over."""
        lanes = [
            lane
            for lane in self.model.lanes.values()
            if lane.holder or lane.postponed or self.early(lane)
        ]
        lane = lanes[pick % len(lanes)]
        if lane.holder:
            self.end_lease(lane)
        else:
            self.end_waiting(lane)

    def early(self, lane: Lane) -> bool:
        return bool(lane.ids) and self.model.records[lane.ids[0]].early

    def end_lease(self, lane: Lane) -> None:
        lane.ended = True
        self.client.zadd(f"wpp:leases:{lane.queue}", {lane.name: 1})

    def end_waiting(self, lane: Lane) -> None:
        lane.postponed = self.model.records[lane.ids[0]].early = False
        self.client.hdel(f"wpp:event:{lane.ids[0]}", "due")
        self.client.zadd(f"wpp:delayed:{lane.queue}", {lane.name: 1}, xx=True)

    @rule(hours=st.sampled_from([-2, 2]))
    def step_clock(self, hours: int) -> None:
        """Redis' wall clock steps: no lease ends, nothing is due earlier or later."""
        self.harness.step_clock(hours * HOUR_S * 1000)

    @rule(who=WORKERS, queue=KINDS, say=st.none() | CLOCK_SAYINGS, lost=st.booleans())
    def pause(self, who: int, queue: str, say: Say | None, *, lost: bool) -> None:
        """A worker pauses for longer than its lease: a sweep takes over before it is back."""
        if found := self.take(self.workers[who], queue, lost=lost):
            self.end_lease(self.model.lanes[found.lane])
            self.sweep(queue, say)

    @precondition(lambda self: self.model.closed)
    @rule(name=LANES)
    def head_expires(self, name: str) -> None:
        lane = self.model.lanes[name]
        if lane.ids and not lane.holder:
            self.model.records[lane.ids[0]].expired = True
            self.client.hset(f"wpp:event:{lane.ids[0]}", "expires", 1)
            if self.client.hget(f"wpp:lane:{name}:state", "where") == b"gated":
                self.client.zadd(f"wpp:delayed:{lane.queue}", {name: 1})

    @rule(queue=KINDS, say=st.none() | CLOCK_SAYINGS)
    def sweep(self, queue: str, say: Say | None) -> None:
        """The clock takes over what was given up, and mostly says at once what becomes of it."""
        for held in map(Held, self.take_over(queue)):
            if say:
                self.say(held, say, None)
            else:
                self.held.append(held)

    def take_over(self, queue: str) -> list[Claim]:
        """Two clocks sweep: nothing is left for the second."""
        ended = {
            lane.name for lane in self.model.lanes.values() if lane.ended and lane.queue == queue
        }
        swept = self.harness.lanes.sweep(queue)
        taken = swept.expired_claims
        assert bool(swept.ready) == self.workable(queue), (
            "each token finds something to do, and no lane is forgotten"
        )
        assert self.harness.bell(queue) >= swept.ready
        assert {claim.lane for claim in taken} == ended
        for claim in taken:
            lane = self.model.lanes[claim.lane]
            assert lane.ids[0] == claim.id
            self.model.taken_over(lane, claim.fence)
        assert self.harness.lanes.sweep(queue).expired_claims == []
        return taken

    @precondition(lambda self: not self.model.closed)
    @rule(gate=GATES)
    def close_gate(self, gate: str) -> None:
        self.harness.lanes.close_gate(gate, HOUR_S, "closed")
        self.model.closed.add(gate)

    @precondition(lambda self: self.model.closed)
    @rule(gate=GATES, by_itself=st.booleans())
    def open_gate(self, gate: str, *, by_itself: bool) -> None:
        """It is opened, or its time is over."""
        self.model.closed.discard(gate)
        if not by_itself:
            with self.ringing():
                self.harness.lanes.open_gate(gate)
            assert not self.client.exists(f"wpp:gated:{gate}")
            return
        for lane in self.client.smembers(f"wpp:gated:{gate}"):
            self.client.zadd(f"wpp:delayed:{self.model.lanes[lane.decode()].queue}", {lane: 1})
        self.client.delete(f"wpp:gate:{gate}")

    @precondition(
        lambda self: any(record.by.endswith("unknown") for record in self.model.records.values())
    )
    @rule(data=st.data(), state=st.sampled_from(["sent", "queued"]), times=st.integers(1, 2))
    def resolve(self, data: st.DataObject, state: State, times: int) -> None:
        """A webhook or an operator settles or resends an unknown event; any other stays."""
        unknown = [
            record for record in self.model.records.values() if record.by.endswith("unknown")
        ]
        record = data.draw(st.sampled_from(unknown))
        verdict = Settled(state, [outcome(f"{record.id}:resolve:{state}")])
        counts = self.model.resolve(record, state)
        with self.ringing():
            for _ in range(times):
                assert self.harness.lanes.resolve(record.id, verdict) == counts

    @precondition(lambda self: any(record.by for record in self.model.records.values()))
    @rule(pick=PICK, times=st.integers(1, 2))
    def replay(self, pick: int, times: int) -> None:
        """A dead letter is put back once; what has not failed is left alone."""
        tried = [record for record in self.model.records.values() if record.by]
        record = tried[pick % len(tried)]
        with self.ringing():
            for _ in range(times):
                item = self.item(record.lane.name, event_id=record.id)
                assert self.harness.lanes.replay(item) == self.model.replay(record)

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self.compare()

    def teardown(self) -> None:
        """In the end everything can be worked off, in order, and nothing is left behind."""
        for gate in "gh":
            self.harness.lanes.open_gate(gate)
        self.model.closed.clear()
        for lane in self.model.lanes.values():
            if lane.holder:
                self.end_lease(lane)
        self.all_dates_come()
        while waiting := sum(len(lane.ids) for lane in self.model.lanes.values()):
            for lane in self.model.lanes.values():
                if lane.ids and not lane.holder:
                    self.end_waiting(lane)
            self.work_off("send")
            self.work_off("webhook")
            assert waiting > sum(len(lane.ids) for lane in self.model.lanes.values()), (
                "nobody can go on"
            )
        assert self.harness.nothing_ready("send")
        assert self.harness.nothing_ready("webhook")
        self.nothing_is_left()

    def work_off(self, queue: str) -> None:
        for claim in self.take_over(queue):
            self.say(Held(claim), Say("sent"), None)
        for claim in self.harness.claims(queue):
            self.validate(claim)
            self.say(Held(claim), Say("sent", run=int(claim.fence) % 3), None)


@pytest.fixture
def quick_client(redis_client: "redis.Redis") -> Iterator["redis.Redis"]:
    """Return a client of a Redis that does not wait for its disk: this Redis is not killed."""
    redis_client.config_set("appendfsync", "no")
    yield redis_client
    redis_client.config_set("appendfsync", "always")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [60, pytest.param(250, marks=pytest.mark.faults)])
def test_lanes_keep_their_promises(quick_client: "redis.Redis", examples: int) -> None:
    """Order, a single holder, rising fences, no loss, no double, no lane forgotten."""

    class OnThisRedis(LaneStateMachine):
        client = quick_client

    run_state_machine_as_test(
        OnThisRedis,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

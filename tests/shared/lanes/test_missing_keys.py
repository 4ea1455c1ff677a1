"""A key that is missing in Redis costs what it held: the engine goes on, and tells of lost events.

Partial restores and mistaken DELs lose keys. Every kind of key is deleted from a running engine.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
import redis

from shared.lanes.repair import repair
from shared.lanes.scripts import APPEND
from shared.lanes.types import Claim, ClaimSequence, Postponed
from shared.redis import keys
from tests.shared.lanes.harness import LaneHarness, settled

HOUR_S = 3600
THREADS = 32


@pytest.fixture
def damaged(redis_client: "redis.Redis") -> Iterator[LaneHarness]:
    """Return lanes whose keys need not be sound afterwards."""
    yield LaneHarness(redis_client)
    redis_client.flushall()


def lost(harness: LaneHarness) -> list[UUID]:
    """Return the events of which the next sweep tells."""
    return [event.id for event in harness.lanes.sweep("send").lost]


def test_an_event_without_a_record_costs_its_lane_nothing(damaged: LaneHarness) -> None:
    """The next event of the conversation is claimed by the same request; a sweep tells of it."""
    gone = damaged.append("x", "gone")
    damaged.append("x", "next")
    damaged.client.delete(keys.event(gone))
    claim = damaged.claim()
    assert damaged.told(claim.body) == "next"
    assert damaged.conclude(claim)
    [event] = damaged.lanes.sweep("send").lost
    assert (event.id, event.lane, event.tenant, event.queue) == (gone, "x", "one", "send")
    assert damaged.client.hget(keys.LOST_EVENT_COUNTS, "send") == b"1"
    damaged.lanes.tell_lost("send", [event], settled("sent", "lost").outcomes)
    assert lost(damaged) == []
    assert damaged.outbox() == ["lost"]
    assert not damaged.client.exists(keys.waiting("send"), keys.lane("x"), keys.lane_state("x"))


def test_a_lane_that_holds_only_lost_events_ends(damaged: LaneHarness) -> None:
    gone = [damaged.append("x", number) for number in range(3)]
    damaged.client.delete(*map(keys.event, gone))
    assert damaged.nothing_ready()
    assert lost(damaged) == gone
    assert damaged.append("x") == damaged.claim().id


def test_a_lost_record_in_the_middle_of_a_lane_is_found_at_its_turn(damaged: LaneHarness) -> None:
    ids = [damaged.append("x", number) for number in range(3)]
    damaged.client.delete(keys.event(ids[1]))
    done = []
    for claim in damaged.claims():
        done.append(claim.id)
        damaged.conclude(claim)
    assert (done, lost(damaged)) == ([ids[0], ids[2]], [ids[1]])


def test_the_result_of_a_claim_counts_though_its_record_is_missing(damaged: LaneHarness) -> None:
    """The message went out, and its outcome says so; nothing of the record comes back."""
    damaged.append("x", "gone")
    damaged.append("x", "next")
    claim = damaged.claim()
    damaged.client.delete(keys.event(claim.id))
    assert damaged.conclude(claim, "sent", "sent")
    assert damaged.outbox() == ["sent"]
    assert not damaged.client.exists(keys.event(claim.id))
    assert damaged.told(damaged.claim().body) == "next"
    assert lost(damaged) == []


@pytest.mark.parametrize("says", ["nothing", "postponed"])
def test_a_claim_without_a_record_ends_with_its_lease(damaged: LaneHarness, says: str) -> None:
    """Its worker is dead, or wants to try again: neither is possible."""
    gone = damaged.append("x", "gone")
    damaged.append("x", "next")
    claim = damaged.claim()
    damaged.client.delete(keys.event(gone))
    if says == "postponed":
        assert not damaged.lanes.conclude(claim, Postponed(0, "not now"))[0]
    damaged.end("leases:send")
    swept = damaged.lanes.sweep("send")
    assert (swept.expired_claims, swept.ready) == ([], 1)
    assert lost(damaged) == [gone]
    assert damaged.told(damaged.claim().body) == "next"
    assert damaged.client.hgetall(keys.in_flight("send")) == {b"one": b"1"}


def test_a_lost_reply_names_no_event_without_a_record(damaged: LaneHarness) -> None:
    damaged.append("x", "gone")
    damaged.append("y", "next")
    claim = damaged.claim(sequence=ClaimSequence("a thread"))
    damaged.client.delete(keys.event(claim.id))
    assert damaged.told(damaged.claim(sequence=ClaimSequence("a thread")).body) == "next"


def test_a_settled_event_that_stands_in_a_lane_again_is_passed(damaged: LaneHarness) -> None:
    """A restored lane may name events that are done: that is no loss."""
    event_id = damaged.append("x", "done")
    damaged.conclude(damaged.claim())
    damaged.client.rpush(keys.lane("x"), str(event_id))
    damaged.append("x", "next")
    assert damaged.told(damaged.claim().body) == "next"
    assert lost(damaged) == []


@dataclass
class Engine:
    """An engine in the middle of its work: lanes in each place, each with two events."""

    harness: LaneHarness
    held: list[Claim] = field(default_factory=list)
    accepted: dict[UUID, str] = field(default_factory=dict)
    """Event -> its lane."""
    ended: Counter[UUID] = field(default_factory=Counter)

    def append(self, lane: str) -> UUID:
        tenant = "two" if lane.endswith("2") else "one"
        event_id = self.harness.append(lane, tenant=tenant, gates=("g",))
        self.accepted[event_id] = lane
        return event_id

    def start(self) -> None:
        """Bring lanes into every place, two of each; a worker holds those of `claimed`."""
        self.harness.lanes.register("send", "a process", THREADS)
        for place in ("claimed", "delayed", "unknown", "gated", "ready"):
            if place == "gated":
                self.harness.lanes.close_gate("g", HOUR_S, "closed")
            for number in "12":
                self.append(f"{place}{number}")
                self.append(f"{place}{number}")
            if place == "ready":
                return
            for claim in self.harness.claims():
                if place == "claimed":
                    self.held.append(claim)
                elif place == "delayed":
                    self.harness.lanes.conclude(claim, Postponed(HOUR_S, "not now"))
                else:
                    self.end(claim, "unknown")
        raise AssertionError

    def end(self, claim: Claim, state: str = "sent") -> None:
        if self.harness.conclude(claim, state):  # type: ignore[arg-type]
            self.ended[claim.id] += 1

    def finish(self, *, workers_live: bool) -> None:
        """Append to each lane, let all waiting end, and work off what is there."""
        for lane in sorted(set(self.accepted.values())):
            self.append(lane)
        for claim in self.held if workers_live else []:
            self.end(claim)
        repair(self.harness.lanes)
        self.harness.lanes.open_gate("g")
        for _ in range(4):
            self.harness.end("delayed:send")
            self.harness.end("leases:send")
            for claim in self.harness.lanes.sweep("send").expired_claims:
                self.end(claim)
            for claim in self.harness.claims():
                self.end(claim)


def lane_of(place: str) -> str:
    """Return the first lane in a place."""
    return f"{place}1"


PLACES = ("claimed", "delayed", "gated", "ready", "unknown")
KEYS = {
    **{f"lane-{place}": keys.lane(lane_of(place)) for place in PLACES[:-1]},
    **{f"state-{place}": keys.lane_state(lane_of(place)) for place in PLACES[:-1]},
    "ready": keys.ready_lanes("send", "one"),
    "ring": keys.tenant_ring("send"),
    "ring-members": keys.tenant_ring_members("send"),
    "in-flight": keys.in_flight("send"),
    "waiting": keys.waiting("send"),
    "waiting-bytes": keys.waiting_bytes("send"),
    "fleet": keys.fleet("send"),
    "leases": keys.leases("send"),
    "delayed": keys.delayed("send"),
    "gate": keys.gate("g"),
    "gated": keys.gated_lanes("g"),
    "bell": keys.bell("send"),
    "unknown": keys.unknown_events(lane_of("unknown")),
    "fence": keys.FENCE,
    "outbox": keys.OUTBOX,
}


@pytest.mark.parametrize("workers_live", [True, False], ids=["alive", "dead"])
@pytest.mark.parametrize("name", [*(f"event-{place}" for place in PLACES), *KEYS])
def test_any_key_may_be_missing(damaged: LaneHarness, name: str, *, workers_live: bool) -> None:
    """No event but that of the key is lost, each ends once, and nothing is left behind."""
    engine = Engine(damaged)
    engine.start()
    lost_event = None
    if name.startswith("event-"):
        lane = lane_of(name.removeprefix("event-"))
        lost_event = next(each for each, found in engine.accepted.items() if found == lane)
    damaged.client.xadd(keys.OUTBOX, {"r": "{}"})
    key = keys.event(lost_event) if lost_event else KEYS[name]
    assert damaged.client.delete(key) == 1, "the running engine has such a key"
    engine.finish(workers_live=workers_live)
    missing = {each for each in engine.accepted if not engine.ended[each]}
    assert missing <= {lost_event}
    assert set(engine.ended.values()) == {1}
    left = {key.decode() for key in damaged.client.keys(f"{keys.PREFIX}*")}
    index = (keys.leases, keys.delayed, keys.waiting, keys.waiting_bytes, keys.in_flight)
    assert not left & {of("send") for of in (*index, keys.tenant_ring)}
    assert not left & {keys.lane(each) for each in engine.accepted.values()}


def test_a_tenant_that_stands_aside_is_not_forgotten(damaged: LaneHarness) -> None:
    """It may take no thread, and the list of such tenants is lost with the counters of its work."""
    damaged.lanes.register("send", "a process", 2)
    for number in range(4):
        damaged.append(f"lane{number}")
    held = list(damaged.claims())
    assert damaged.client.delete(keys.tenants_aside("send")) == 1
    assert repair(damaged.lanes) == 1
    for claim in held:
        damaged.conclude(claim)
    assert len(list(damaged.claims())) == len(held)


def test_a_later_claim_has_a_higher_fence_though_the_counter_was_lost(
    damaged: LaneHarness,
) -> None:
    """A late result of the earlier claim would count otherwise."""
    damaged.append("y")
    damaged.append("x")
    *_, first = damaged.claims()
    damaged.lanes.conclude(first, Postponed(0, "not now"))
    damaged.client.delete(keys.FENCE)
    again = damaged.claim()
    assert int(again.fence) > int(first.fence)
    damaged.client.delete(keys.FENCE)
    damaged.end("leases:send")
    fences = {claim.lane: int(claim.fence) for claim in damaged.lanes.sweep("send").expired_claims}
    assert fences["x"] > int(again.fence)
    assert not damaged.conclude(first)


def test_a_repair_of_a_sound_engine_changes_nothing(harness: LaneHarness) -> None:
    """Also of more ready lanes than it reads at once."""
    items = [harness.item(f"lane{number}") for number in range(1200)]
    APPEND.run(harness.client, [keys.PREFIX], harness.lanes.append_arguments(items))
    harness.claim()
    assert repair(harness.lanes) == 0
    assert harness.client.llen(keys.ready_lanes("send", "one")) == 1199

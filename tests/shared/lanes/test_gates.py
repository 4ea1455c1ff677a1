"""Gates: lanes wait in order while a gate is closed, and cost nothing meanwhile."""

import time

from shared.lanes.scripts import APPEND
from shared.lanes.types import Postponed
from shared.redis.keys import PREFIX
from tests.shared.lanes.harness import LaneHarness


def test_a_closed_gate_parks_its_lanes_and_no_others(harness: LaneHarness) -> None:
    harness.lanes.close_gate("g", 60, "closed")
    harness.append("behind", gates=("f", "g"))
    harness.append("beside", gates=("f",))
    assert [claim.lane for claim in harness.claims()] == ["beside"]


def test_an_opened_gate_lets_its_lanes_go_on_in_order(harness: LaneHarness) -> None:
    harness.lanes.close_gate("g", 60, "closed")
    for lane in "xyz":
        for number in range(2):
            harness.append(lane, number, gates=("g",))
    assert harness.nothing_ready()
    assert harness.lanes.open_gate("g") == 3
    seen = []
    for claim in harness.claims():
        seen.append((claim.lane, harness.told(claim.body)))
        harness.conclude(claim)
    assert sorted(seen) == [(lane, number) for lane in "xyz" for number in range(2)]


def test_opening_an_open_gate_changes_nothing(harness: LaneHarness) -> None:
    harness.append("x", gates=("g",))
    assert harness.lanes.open_gate("g") == 0
    assert harness.claim().lane == "x"


def test_a_gate_opens_by_itself(harness: LaneHarness) -> None:
    """A gate that is not opened ends with its time: lanes go on, its list is gone."""
    harness.lanes.close_gate("g", 0.05, "closed")
    harness.append("x", gates=("g",))
    assert harness.nothing_ready()
    assert harness.lanes.sweep("send").next_due_ms in range(51)
    time.sleep(0.06)
    assert harness.lanes.sweep("send").ready == 1
    assert harness.claim().lane == "x"
    assert not harness.client.exists("wpp:gated:g")


def test_a_gate_that_is_closed_again_meanwhile_parks_again(harness: LaneHarness) -> None:
    harness.lanes.close_gate("g", 60, "closed")
    harness.append("x", gates=("g",))
    assert harness.nothing_ready()
    harness.end("delayed:send")
    assert harness.lanes.sweep("send").ready == 1
    assert harness.nothing_ready()
    assert harness.lanes.open_gate("g") == 1


def test_of_two_closed_gates_each_holds(harness: LaneHarness) -> None:
    for gate in "fg":
        harness.lanes.close_gate(gate, 60, "closed")
    harness.append("x", gates=("f", "g"))
    assert harness.nothing_ready()
    harness.lanes.open_gate("f")
    assert harness.nothing_ready()
    harness.lanes.open_gate("g")
    assert harness.claim().lane == "x"


def test_an_event_that_expires_behind_a_gate_is_handed_out_as_expired(harness: LaneHarness) -> None:
    """The lane is due when its event expires, before the gate ends: its worker dead-letters it."""
    harness.lanes.close_gate("g", 60, "closed")
    event_id = harness.append("x", gates=("g",))
    harness.client.hset(f"wpp:event:{event_id}", "expires", int(time.time() * 1000) + 50)
    harness.append("x", "still young", gates=("g",))
    assert harness.nothing_ready()
    time.sleep(0.06)
    harness.lanes.sweep("send")
    claim = harness.claim()
    assert claim.expired
    harness.conclude(claim, "failed")
    assert harness.nothing_ready(), "the next one is not expired, and the gate is closed"


def test_a_gate_closed_in_the_middle_of_work_holds_the_next_try(harness: LaneHarness) -> None:
    harness.append("x", gates=("g",))
    claim = harness.claim()
    harness.lanes.close_gate("g", 60, "key refused")
    assert harness.lanes.conclude(claim, Postponed(0, "key refused"), harness.sequence) == (
        True,
        None,
    )
    harness.lanes.open_gate("g")
    assert harness.claim().id == claim.id


def test_more_parked_lanes_than_one_call_looks_at_hide_nothing(harness: LaneHarness) -> None:
    """A single claim finds the free lane behind 500 gated lanes; all go on afterwards."""
    harness.lanes.close_gate("g", 60, "closed")
    for number in range(500):
        harness.append(f"parked{number}", gates=("g",))
    harness.append("free")
    assert harness.claim().lane == "free"
    harness.append("second")
    assert harness.lanes.open_gate("g") == 500


def test_more_than_a_thousand_parked_lanes_are_all_let_go(harness: LaneHarness) -> None:
    harness.lanes.close_gate("g", 60, "closed")
    harness.client.script_load(APPEND.source)
    pipe = harness.client.pipeline(transaction=False)
    for number in range(2500):
        APPEND.add_to(
            pipe,
            [PREFIX],
            harness.lanes.append_arguments([harness.item(f"parked{number}", gates=("g",))]),
        )
    pipe.execute()
    assert harness.nothing_ready()
    assert harness.lanes.open_gate("g") == 2500

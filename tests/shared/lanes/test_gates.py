"""Gates: lanes wait in order while a gate is closed, and cost nothing meanwhile."""

import time

from shared.lanes.client import APPEND
from shared.lanes.types import Postponed
from shared.redis.keys import PREFIX
from tests.shared.lanes.harness import Bench


def test_a_closed_gate_parks_its_lanes_and_no_others(bench: Bench) -> None:
    bench.lanes.close_gate("g", 60, "closed")
    bench.append("behind", gates=("f", "g"))
    bench.append("beside", gates=("f",))
    assert [claim.lane for claim in bench.claims()] == ["beside"]


def test_an_opened_gate_lets_its_lanes_go_on_in_order(bench: Bench) -> None:
    bench.lanes.close_gate("g", 60, "closed")
    for lane in "xyz":
        for number in range(2):
            bench.append(lane, number, gates=("g",))
    assert bench.nothing_ready()
    assert bench.lanes.open_gate("g") == 3
    seen = []
    for claim in bench.claims():
        seen.append((claim.lane, bench.told(claim.body)))
        bench.conclude(claim)
    assert sorted(seen) == [(lane, number) for lane in "xyz" for number in range(2)]


def test_opening_an_open_gate_changes_nothing(bench: Bench) -> None:
    bench.append("x", gates=("g",))
    assert bench.lanes.open_gate("g") == 0
    assert bench.claim().lane == "x"


def test_a_gate_opens_by_itself(bench: Bench) -> None:
    """A gate that is not opened ends with its time: lanes go on, its list is gone."""
    bench.lanes.close_gate("g", 0.05, "closed")
    bench.append("x", gates=("g",))
    assert bench.nothing_ready()
    assert bench.lanes.sweep("send").next_due_ms in range(51)
    time.sleep(0.06)
    assert bench.lanes.sweep("send").ready == 1
    assert bench.claim().lane == "x"
    assert not bench.client.exists("wpp:gated:g")


def test_a_gate_that_is_closed_again_meanwhile_parks_again(bench: Bench) -> None:
    bench.lanes.close_gate("g", 60, "closed")
    bench.append("x", gates=("g",))
    assert bench.nothing_ready()
    bench.end("delayed:send")
    assert bench.lanes.sweep("send").ready == 1
    assert bench.nothing_ready()
    assert bench.lanes.open_gate("g") == 1


def test_of_two_closed_gates_each_holds(bench: Bench) -> None:
    for gate in "fg":
        bench.lanes.close_gate(gate, 60, "closed")
    bench.append("x", gates=("f", "g"))
    assert bench.nothing_ready()
    bench.lanes.open_gate("f")
    assert bench.nothing_ready()
    bench.lanes.open_gate("g")
    assert bench.claim().lane == "x"


def test_an_event_that_expires_behind_a_gate_is_handed_out_as_expired(bench: Bench) -> None:
    """The lane is due when its event expires, before the gate ends: its worker dead-letters it."""
    bench.lanes.close_gate("g", 60, "closed")
    event_id = bench.append("x", gates=("g",))
    bench.client.hset(f"wpp:event:{event_id}", "expires", int(time.time() * 1000) + 50)
    bench.append("x", "still young", gates=("g",))
    assert bench.nothing_ready()
    time.sleep(0.06)
    bench.lanes.sweep("send")
    claim = bench.claim()
    assert claim.expired
    bench.conclude(claim, "failed")
    assert bench.nothing_ready(), "the next one is not expired, and the gate is closed"


def test_a_gate_closed_in_the_middle_of_work_holds_the_next_try(bench: Bench) -> None:
    bench.append("x", gates=("g",))
    claim = bench.claim()
    bench.lanes.close_gate("g", 60, "key refused")
    assert bench.lanes.conclude(claim, Postponed(0, "key refused"), bench.sequence) == (True, None)
    bench.lanes.open_gate("g")
    assert bench.claim().id == claim.id


def test_more_parked_lanes_than_one_call_looks_at_hide_nothing(bench: Bench) -> None:
    """A single claim finds the free lane behind 500 gated lanes; all go on afterwards."""
    bench.lanes.close_gate("g", 60, "closed")
    for number in range(500):
        bench.append(f"parked{number}", gates=("g",))
    bench.append("free")
    assert bench.claim().lane == "free"
    bench.append("second")
    assert bench.lanes.open_gate("g") == 500


def test_more_than_a_thousand_parked_lanes_are_all_let_go(bench: Bench) -> None:
    bench.lanes.close_gate("g", 60, "closed")
    bench.client.script_load(APPEND.source)
    pipe = bench.client.pipeline(transaction=False)
    for number in range(2500):
        APPEND.add_to(
            pipe,
            [PREFIX],
            bench.lanes.append_arguments([bench.item(f"parked{number}", gates=("g",))]),
        )
    pipe.execute()
    assert bench.nothing_ready()
    assert bench.lanes.open_gate("g") == 2500

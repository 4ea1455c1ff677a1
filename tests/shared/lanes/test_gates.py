"""Gates: lanes wait in order while a gate is closed, and cost nothing meanwhile."""

import time
from typing import Any

import pytest

from shared.lanes.scripts import APPEND
from shared.lanes.types import ClaimSequence, Postponed
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
    harness.lanes.close_gate("g", 60, "closed")
    harness.append("x", gates=("g",))
    assert harness.nothing_ready()
    assert 30_000 < harness.client.pttl("wpp:gate:g") <= 60_000
    assert harness.lanes.sweep("send").next_due_ms in range(30_000, 60_001)
    harness.lanes.monotonic = lambda: time.monotonic() + 61
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
    harness.lanes.close_gate("g", 600, "closed")
    event_id = harness.append("x", gates=("g",))
    harness.client.hset(f"wpp:event:{event_id}", "expires", int(time.time() * 1000) + 60_000)
    harness.append("x", "still young", gates=("g",))
    assert harness.nothing_ready()
    assert harness.lanes.sweep("send").next_due_ms in range(30_000, 60_001)
    harness.lanes.monotonic = lambda: time.monotonic() + 61
    assert harness.lanes.sweep("send").ready == 1
    harness.client.hset(f"wpp:event:{event_id}", "expires", int(time.time() * 1000) - 1)
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


def append_many(harness: LaneHarness, count: int) -> None:
    """Append an event to each of `count` lanes behind the gate `g`."""
    harness.client.script_load(APPEND.source)
    pipe = harness.client.pipeline(transaction=False)
    for number in range(count):
        item = harness.item(f"parked{number}", gates=("g",))
        APPEND.add_to(pipe, [PREFIX], harness.lanes.append_arguments([item]))
    pipe.execute()


def test_more_than_a_thousand_parked_lanes_are_all_let_go(harness: LaneHarness) -> None:
    harness.lanes.close_gate("g", 60, "closed")
    append_many(harness, 2500)
    assert harness.nothing_ready()
    assert harness.lanes.open_gate("g") == 2500


MAX_COMMANDS = 800
"""Commands of a script: Redis executes them in a few milliseconds."""


def test_no_script_works_on_a_whole_gate(
    harness: LaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parking, opening and the end of a gate's time take steps of a bounded size."""
    client = harness.client
    evalsha, worst = client.evalsha, [0]

    def count_commands() -> int:
        stats: dict[str, Any] = client.info("commandstats")
        return sum(each["calls"] for each in stats.values())

    def measured(*args: Any) -> Any:
        before = count_commands()
        reply = evalsha(*args)
        worst[0] = max(worst[0], count_commands() - before)
        return reply

    harness.lanes.close_gate("g", 60, "closed")
    append_many(harness, 4000)
    monkeypatch.setattr(client, "evalsha", measured)
    assert harness.nothing_ready()
    assert harness.lanes.open_gate("g") == 4000
    harness.lanes.close_gate("g", 60, "closed")
    assert harness.nothing_ready()
    client.delete("wpp:gate:g")
    harness.end("delayed:send")
    while harness.lanes.sweep("send").next_due_ms is not None:
        pass
    harness.lanes.register("send", "process", 20)
    assert len(list(harness.claims())) == 16
    assert 0 < worst[0] <= MAX_COMMANDS


def test_a_claim_of_many_lanes_that_wait_asks_its_caller_whether_to_go_on(
    harness: LaneHarness,
) -> None:
    """A worker process that stops looks at the flag between two steps."""
    harness.lanes.close_gate("g", 60, "closed")
    append_many(harness, 500)
    sequence, steps = ClaimSequence(), 0
    while (found := harness.lanes.exchange("send", sequence, 1)).more:
        assert found.claims == []
        steps += 1
    assert steps > 1


def test_a_gate_that_is_closed_while_it_opens_stays_closed(
    harness: LaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise lanes would be released and parked in a circle."""
    harness.lanes.close_gate("g", 60, "closed")
    append_many(harness, 500)
    assert harness.nothing_ready()
    evalsha = harness.client.evalsha

    def close_again(*args: Any) -> Any:
        reply = evalsha(*args)
        harness.client.set("wpp:gate:g", "closed again", px=60_000)
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(harness.client, "evalsha", close_again)
        assert harness.lanes.open_gate("g") < 500
    assert harness.nothing_ready()
    assert harness.client.exists("wpp:gate:g")
    assert harness.lanes.open_gate("g") == 500

"""The clock of leases and delays: a step of Redis' wall clock costs no claim and delays no lane."""

import time

import pytest

from shared.lanes.types import ClaimSequence, Postponed
from tests.shared.lanes.harness import LaneHarness

STEPS = pytest.mark.parametrize("step_ms", [-600_000, -60_000, 60_000, 600_000])


@STEPS
def test_no_claim_is_taken_from_a_living_worker(harness: LaneHarness, step_ms: int) -> None:
    """Nor is a lease prolonged: it ends 25 s later, as the sweeper's own clock has it."""
    harness.append("x")
    claim = harness.claim()
    harness.lanes.sweep("send")
    harness.step_clock(step_ms)
    assert harness.lanes.sweep("send").expired_claims == []
    assert harness.lanes.extend(claim)
    harness.lanes.monotonic = lambda: time.monotonic() + 26
    [taken] = harness.lanes.sweep("send").expired_claims
    assert taken.id == claim.id


@STEPS
def test_no_delay_grows_or_shrinks(harness: LaneHarness, step_ms: int) -> None:
    """Of a postponed event, of one appended for later, and of a lane at a closed gate."""
    harness.append("postponed")
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    harness.append("later", queue="webhook", delay_s=60)
    harness.lanes.close_gate("g", 60, "closed")
    harness.append("gated", queue="media", gates=("g",))
    assert harness.nothing_ready("media")
    harness.step_clock(step_ms)
    for queue in ("send", "webhook", "media"):
        swept = harness.lanes.sweep(queue)
        assert swept.ready == 0
        assert swept.next_due_ms
        assert 50_000 < swept.next_due_ms <= 61_000


@STEPS
def test_what_begins_after_a_step_lasts_as_long_as_it_should(
    harness: LaneHarness, step_ms: int
) -> None:
    harness.append("x")
    harness.step_clock(step_ms)
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    harness.step_clock(-step_ms)
    due_ms = harness.lanes.sweep("send").next_due_ms
    assert due_ms
    assert 50_000 < due_ms <= 61_000


def test_a_gate_opens_in_time_although_its_key_lives_longer(harness: LaneHarness) -> None:
    """Keys expire by the wall clock: after a step back they live on."""
    harness.lanes.close_gate("g", 0.2, "closed")
    harness.append("x", gates=("g",))
    assert harness.nothing_ready()
    harness.step_clock(-600_000)
    harness.client.pexpire("wpp:gate:g", 600_200)
    while not harness.lanes.sweep("send").ready:
        time.sleep(0.01)
    assert harness.claim().lane == "x"


def test_time_without_redis_counts_as_it_passed(harness: LaneHarness) -> None:
    """A sweeper that comes back after a minute knows how long it was away."""
    harness.append("x")
    harness.claim()
    harness.lanes.sweep("send")
    harness.lanes.monotonic = lambda: time.monotonic() + 60
    assert len(harness.lanes.sweep("send").expired_claims) == 1


def test_a_gap_that_no_sweeper_saw_counts_as_two_seconds(harness: LaneHarness) -> None:
    """A step or an outage, that cannot be known: leases last longer rather than shorter."""
    harness.append("x")
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    harness.lanes.claim("send", ClaimSequence())
    before = int(harness.client.hget("wpp:clock", "lanes"))
    harness.step_clock(3_600_000)
    assert harness.nothing_ready()
    after = int(harness.client.hget("wpp:clock", "lanes"))
    assert 2000 <= after - before < 10_000


def test_the_age_of_an_event_is_that_of_the_wall_clock(harness: LaneHarness) -> None:
    """It is accepted, and fails, at a time that people read."""
    harness.append("x", max_age_s=300)
    harness.step_clock(600_000)
    harness.append("y")
    first, second = harness.claims()
    assert abs(second.accepted_ms - first.accepted_ms) < 60_000
    assert abs(first.now_ms - time.time() * 1000) < 60_000

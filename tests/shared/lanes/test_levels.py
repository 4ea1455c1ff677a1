"""Levels of priority: which ready lane of a tenant is claimed next."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from shared.lanes.repair import repair
from shared.lanes.scripts import APPEND
from shared.lanes.types import LEVELS, Append, LaneLevel, Postponed, Settled
from shared.redis import keys
from tests.shared.lanes.harness import LaneHarness
from tests.shared.lanes.invariants import Invariants


def append_all(harness: LaneHarness, items: Sequence[Append]) -> None:
    for start in range(0, len(items), 200):
        arguments = harness.lanes.append_arguments(items[start : start + 200])
        APPEND.run(harness.client, [keys.PREFIX], arguments)


def campaign(
    harness: LaneHarness, size: int, level: LaneLevel = "normal", tenant: str = "one"
) -> None:
    """Fill `size` lanes with an event each."""
    items = [harness.item(f"{level}{n}", tenant=tenant, level=level) for n in range(size)]
    append_all(harness, items)


def claimed_lanes(harness: LaneHarness, count: int) -> list[str]:
    """Claim and conclude `count` events; return their lanes."""
    lanes = []
    for _ in range(count):
        claim = harness.claim()
        harness.conclude(claim)
        lanes.append(claim.lane)
    return lanes


@pytest.mark.parametrize("others", ["normal", "low"])
def test_a_code_overtakes_a_campaign(harness: LaneHarness, others: LaneLevel) -> None:
    campaign(harness, 300, others)
    claimed_lanes(harness, 3)
    harness.append("code", level="high")
    assert claimed_lanes(harness, 2) == ["code", f"{others}3"]
    assert Invariants(harness.client).faults == []


def test_a_low_campaign_lets_others_go_first(harness: LaneHarness) -> None:
    campaign(harness, 300, "low")
    harness.append("a person's answer")
    assert claimed_lanes(harness, 2) == ["a person's answer", "low0"]


@pytest.mark.parametrize("levels", [("low", "high"), ("normal", "high"), ("low", "normal")])
def test_an_event_lifts_its_lane_and_keeps_its_place(
    harness: LaneHarness, levels: tuple[LaneLevel, LaneLevel]
) -> None:
    """A code to a recipient of the campaign goes out after the campaign's message to them."""
    campaign(harness, 50, levels[0])
    ids = [harness.append("both", level=level) for level in levels]
    claims = []
    for _ in range(2):
        claims.append(harness.claim())
        harness.conclude(claims[-1])
    assert [claim.id for claim in claims] == ids
    assert Invariants(harness.client).faults == []
    assert claimed_lanes(harness, 1) == [f"{levels[0]}0"]


@pytest.mark.parametrize("left", [0, 1], ids=["emptied", "not-emptied"])
@pytest.mark.parametrize("first", LEVELS)
@pytest.mark.parametrize("second", LEVELS)
def test_a_lane_is_ready_once_after_a_cancellation(
    harness: LaneHarness, first: LaneLevel, second: LaneLevel, left: int
) -> None:
    """It stands at the level of an event that is gone, until it is looked at or lifted."""
    for _ in range(left):
        harness.append("lane", level="low")
    cancelled = harness.append("lane", level=first)
    end = Settled("cancelled")
    assert harness.lanes.cancel(cancelled, "send", "one", end) == "ok"
    harness.append("lane", level=second)
    assert Invariants(harness.client).faults == []
    assert claimed_lanes(harness, 1 + left) == ["lane"] * (1 + left)


@pytest.mark.parametrize("place", ["claimed", "delayed", "gated"])
def test_a_lane_that_is_not_ready_is_lifted_when_it_is(harness: LaneHarness, place: str) -> None:
    first = harness.append("lane", level="low", gates=("g",))
    claim = harness.claim()
    if place == "delayed":
        harness.lanes.conclude(claim, Postponed(60, "not now"))
    elif place == "gated":
        harness.lanes.close_gate("g", 60, "closed")
        harness.lanes.conclude(claim, Postponed(0, "not now"))
        assert harness.nothing_ready()
    campaign(harness, 20)
    code = harness.append("lane", level="high")
    if place == "claimed":
        harness.conclude(claim)
    elif place == "delayed":
        harness.due()
        harness.lanes.sweep("send")
    else:
        harness.lanes.open_gate("g")
    assert harness.claim().id == (code if place == "claimed" else first)
    assert Invariants(harness.client).faults == []


def test_a_lane_is_lifted_from_behind_any_number_of_others(harness: LaneHarness) -> None:
    """Too far behind to be found, it stays there too, and a postponement holds it there."""
    campaign(harness, 5001)
    harness.append("far", "campaign")
    harness.append("far", "code", level="high")
    claim = harness.claim()
    assert (claim.lane, harness.told(claim.body)) == ("far", "campaign")
    harness.lanes.conclude(claim, Postponed(60, "paced"))
    lanes = [claim.lane for claim in harness.claims()]
    assert len(lanes) == 5001
    assert "far" not in lanes, "it waits for its time"
    harness.due()
    harness.lanes.sweep("send")
    assert harness.claim().lane == "far"


def test_no_level_starves(harness: LaneHarness) -> None:
    """A tenth of the claims begins with low, a tenth with normal."""
    campaign(harness, 50, "high")
    campaign(harness, 50)
    campaign(harness, 50, "low")
    lanes = claimed_lanes(harness, 20)
    counts = {level: sum(lane.startswith(level) for lane in lanes) for level in LEVELS}
    assert counts == {"high": 16, "normal": 2, "low": 2}
    assert lanes[0] == "high0"


def test_a_priority_counts_within_its_tenant_only(harness: LaneHarness) -> None:
    """Another tenant's events have their turn, however urgent those of the first are."""
    campaign(harness, 20, "high", tenant="one")
    campaign(harness, 20, "low", tenant="two")
    lanes = claimed_lanes(harness, 10)
    assert sorted(lane[:3] for lane in lanes) == ["hig"] * 5 + ["low"] * 5


def test_an_event_that_goes_out_once_more_keeps_its_level(harness: LaneHarness) -> None:
    event_id = harness.append("code", level="high")
    harness.conclude(harness.claim(), "unknown")
    campaign(harness, 10)
    assert harness.lanes.resolve(event_id, Settled("queued"))
    assert harness.claim().id == event_id


def test_a_worker_of_an_earlier_version_hides_no_lane(harness: LaneHarness) -> None:
    """It takes the mark for a lane, and a tenant without others out of the rotation."""
    code = harness.append("code", level="high")
    assert harness.client.lpop(keys.ready_lanes("send", "one")) == b""
    harness.client.delete(keys.tenant_ring("send"), keys.tenant_ring_members("send"))
    assert harness.nothing_ready()
    harness.lanes.sweep("send")
    assert Invariants(harness.client).faults == []
    assert harness.claim().id == code


def test_a_lost_mark_delays_a_code_by_what_is_ready(harness: LaneHarness) -> None:
    campaign(harness, 2)
    harness.append("code", level="high")
    assert harness.client.lpop(keys.ready_lanes("send", "one")) == b""
    assert claimed_lanes(harness, 3) == ["normal0", "normal1", "code"]


def test_lanes_of_an_earlier_version_are_read(harness: LaneHarness) -> None:
    """Their state counts no levels, their events have none."""
    campaign(harness, 2)
    state = harness.client.hgetall(keys.lane_state("normal0"))
    assert set(state) == {b"where", b"queue", b"tenant"}, "as it was before there were levels"
    harness.append("normal1", level="high")
    assert claimed_lanes(harness, 3) == ["normal1", "normal1", "normal0"]


@pytest.mark.parametrize("level", ["high", "low"])
@pytest.mark.parametrize("lost", ["list", "levels", "ready", "state"])
def test_a_missing_key_costs_no_event(harness: LaneHarness, level: LaneLevel, lost: str) -> None:
    """A key of the levels was lost, by a partial restore for example."""
    campaign(harness, 5, level)
    campaign(harness, 5)
    key = {
        "list": keys.ready_lanes("send", "one", level),
        "levels": keys.levels("send"),
        "ready": keys.ready_lanes("send", "one"),
        "state": keys.lane_state(f"{level}1"),
    }[lost]
    assert harness.client.delete(key) == 1
    repair(harness.lanes)
    claims = list(harness.claims())
    assert len({claim.id for claim in claims}) == 10
    for claim in claims:
        assert harness.conclude(claim)


def test_a_repair_leaves_sound_lanes_of_all_levels_alone(harness: LaneHarness) -> None:
    for level in LEVELS:
        campaign(harness, 600, level)
    assert repair(harness.lanes) == 0


def test_nothing_is_left_behind(harness: LaneHarness) -> None:
    for level in LEVELS:
        campaign(harness, 7, level)
    for claim in harness.claims():
        harness.conclude(claim)
    kept = {key.decode().split(":")[1] for key in harness.client.keys("wpp:*")}
    assert kept == {"event", "fence", "reply", "clock"}


def count_commands(harness: LaneHarness) -> float:
    """Return the commands of Redis for a message, from its append to its end.

    Those that note the time are left out: a script does so once in 250 ms, for any command.
    """
    harness.lanes.register("send", "process", 8)
    noted: list[bytes] = []

    def look_at_clock() -> None:
        noted.append(harness.client.hget(keys.LANE_CLOCK, "wall"))

    for number in range(60):
        if number == 10:
            noted = noted[-1:]
            harness.client.config_resetstat()
        harness.append(f"lane{number}", gates=("g", "h"))
        look_at_clock()
        claim = harness.claim()
        look_at_clock()
        harness.conclude(claim)
        look_at_clock()
    stats: dict[str, dict[str, int]] = harness.client.info("commandstats")
    calls = sum(each["calls"] for name, each in stats.items() if "config" not in name)
    looks, notes = len(noted) - 1, sum(one != two for one, two in pairwise(noted))
    return (calls - looks - notes) / 50


def test_an_event_without_a_priority_costs_no_command_for_levels(harness: LaneHarness) -> None:
    """It took 63 before there were levels and dates."""
    assert count_commands(harness) <= 63

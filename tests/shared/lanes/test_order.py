"""Order within a lane, independence between lanes, turns between tenants."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.lanes.scripts import APPEND
from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from shared.redis.keys import PREFIX
from tests.shared.lanes.harness import LaneHarness, settled


def test_a_lane_keeps_the_order_of_its_events(harness: LaneHarness) -> None:
    for number in range(20):
        harness.append("x", number)
    seen = []
    for claim in harness.claims():
        seen.append(harness.told(claim.body))
        assert harness.nothing_ready(), "one holder at a time"
        harness.conclude(claim)
    assert seen == list(range(20))


def test_a_postponed_event_stays_in_front(harness: LaneHarness) -> None:
    harness.append("x", "first")
    harness.append("x", "second")
    harness.lanes.conclude(harness.claim(), Postponed(0, "once more"))
    again = harness.claim()
    assert (harness.told(again.body), again.attempts, again.reason) == ("first", 2, "once more")


def test_a_postponed_lane_is_not_woken_early(harness: LaneHarness) -> None:
    """Neither by a sweep, nor by another event for it, nor by a gate that opens."""
    harness.append("x", gates=("g",))
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    harness.append("x", gates=("g",))
    harness.lanes.open_gate("g")
    swept = harness.lanes.sweep("send")
    assert (swept.ready, swept.expired_claims) == (0, [])
    assert swept.next_due_ms == pytest.approx(60_000, abs=2000)
    assert harness.nothing_ready()


def test_a_postponed_lane_is_woken_when_it_is_due(harness: LaneHarness) -> None:
    harness.append("x")
    harness.lanes.conclude(harness.claim(), Postponed(0.02, "not now"))
    while harness.lanes.sweep("send").ready == 0:
        assert harness.nothing_ready()
    claim = harness.claim()
    assert claim.now_ms - claim.accepted_ms >= 20


def test_what_a_postponed_event_has_learned_is_told(harness: LaneHarness) -> None:
    harness.append("x")
    harness.lanes.conclude(
        harness.claim(), Postponed(0, "scan it", settled("queued", "qr").outcomes)
    )
    assert harness.outbox() == ["qr"]


def test_lanes_never_wait_for_each_other(harness: LaneHarness) -> None:
    """The first is claimed, the second postponed, the third gated: the fourth is free."""
    harness.lanes.close_gate("g", 60, "closed")
    for lane in ("held", "postponed", "gated", "free"):
        harness.append(lane, gates=("g",) if lane == "gated" else ())
    assert harness.claim().lane == "held"
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    assert harness.claim().lane == "free"


def test_a_long_lane_takes_turns_with_the_others_of_its_tenant(harness: LaneHarness) -> None:
    for number in range(5):
        harness.append("long", number)
    harness.append("short")
    claim: Claim | None = harness.claim()
    lanes = []
    while claim:
        lanes.append(claim.lane)
        claim = harness.lanes.conclude(claim, settled("sent"), harness.sequence)[1]
    assert lanes == ["long", "short", "long", "long", "long", "long"]


def test_a_tenant_with_20_000_lanes_does_not_delay_a_single_event(harness: LaneHarness) -> None:
    pipe = harness.client.pipeline(transaction=False)
    harness.client.script_load(APPEND.source)
    for number in range(20_000):
        APPEND.add_to(
            pipe,
            [PREFIX],
            harness.lanes.append_arguments([harness.item(f"lane{number}", tenant="many")]),
        )
    pipe.execute()
    claim = harness.claim()
    harness.append("single", tenant="few")
    following = [
        harness.lanes.conclude(claim, settled("sent"), harness.sequence)[1],
        harness.lanes.claim("send", harness.sequence),
    ]
    assert "single" in [claim.lane for claim in following if claim]
    harness.client.flushall()  # 20,000 lanes take seconds to look at


def test_tenants_take_turns(harness: LaneHarness) -> None:
    for number in range(4):
        for tenant in ("a", "b", "c"):
            harness.append(f"{tenant}{number}", tenant=tenant)
    assert [claim.lane[0] for claim in harness.claims()] == list("abc" * 4)


def test_a_tenant_has_its_share_in_work_and_no_more(harness: LaneHarness) -> None:
    """Then it stands aside, and returns when any of its claims ends."""
    harness.lanes.register("send", "process", 3)
    for number in range(6):
        harness.append(f"lane{number}", tenant="greedy")
    first, second = harness.claims()
    harness.append("other", tenant="modest")
    [other] = harness.claims()
    assert other.lane == "other"
    harness.conclude(first)
    assert harness.nothing_ready(), "the last free thread is for a tenant that has none"
    harness.conclude(other)
    [third] = harness.claims()
    harness.lanes.conclude(second, Postponed(60, "not now"))
    [_] = harness.claims()
    harness.conclude(third, "unknown")
    assert len(list(harness.claims())) == 1


def test_a_tenant_with_its_share_comes_back_after_the_clock_gave_up_its_claims(
    harness: LaneHarness,
) -> None:
    harness.lanes.register("send", "process", 2)
    harness.append("lost")
    harness.append("waits")
    harness.claim()
    assert harness.nothing_ready()
    harness.conclude(harness.take_over(), "unknown")
    assert harness.claim().lane == "waits"


def test_kinds_do_not_share(harness: LaneHarness) -> None:
    """Turns and threads are per queue: a webhook is claimed while no thread is left for sends."""
    for queue in ("send", "provision", "webhook"):
        harness.lanes.register(queue, "process", 2)
    harness.append("s1")
    harness.append("s2")
    harness.append("w", queue="webhook")
    harness.claim("send")
    assert harness.nothing_ready("send")
    assert harness.nothing_ready("provision")
    assert harness.claim("webhook").queue == "webhook"


def test_follow_ups_enter_their_lanes_with_the_verdict(harness: LaneHarness) -> None:
    """At the end of the same lane, or in another lane at its own time."""
    harness.append("x", "first")
    harness.append("x", "second")
    follow = [harness.item("x", "third"), harness.item("y", "later", delay_s=60)]
    claim = harness.claim()
    for _ in range(2):  # a call whose reply was lost is repeated
        assert harness.lanes.conclude(claim, Settled("done", follow=follow))[0]
    seen = []
    for claim in harness.claims():
        seen.append(harness.told(claim.body))
        harness.conclude(claim)
    assert seen == ["second", "third"]
    harness.due()
    harness.lanes.sweep("send")
    assert harness.told(harness.claim().body) == "later"


def test_an_event_may_follow_itself(harness: LaneHarness) -> None:
    """Each round of polling is a new event in the lane that just became empty."""
    harness.append("watch", 0)
    for number in range(1, 4):
        follow = harness.item("watch", number, delay_s=60)
        harness.lanes.conclude(harness.claim(), Settled("done", follow=[follow]))
        assert harness.nothing_ready()
        harness.due()
        harness.lanes.sweep("send")
    assert harness.told(harness.claim().body) == 3


def test_many_workers_at_once_keep_every_lane_in_order(harness: LaneHarness) -> None:
    """16 threads, 40 lanes of 3 tenants, 600 events: each once, each lane in its order."""
    for number in range(15):
        for lane in range(40):
            harness.append(f"lane{lane}", number, tenant=f"tenant{lane % 3}")
    seen: dict[str, list[int]] = defaultdict(list)

    def work(_: int) -> None:
        sequence = ClaimSequence()
        claim = harness.lanes.claim("send", sequence)
        while claim:
            seen[claim.lane].append(harness.told(claim.body))
            claim = harness.lanes.conclude(claim, settled("sent", claim.id), sequence)[1]

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(16)))
    assert seen == {f"lane{lane}": list(range(15)) for lane in range(40)}
    assert len(set(harness.outbox())) == len(harness.outbox()) == 600

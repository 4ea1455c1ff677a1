"""Order within a lane, independence between lanes, turns between tenants."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.lanes.client import APPEND
from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from shared.redis.keys import PREFIX
from tests.shared.lanes.harness import Bench, settled


def test_a_lane_keeps_the_order_of_its_events(bench: Bench) -> None:
    for number in range(20):
        bench.append("x", number)
    seen = []
    for claim in bench.claims():
        seen.append(bench.told(claim.body))
        assert bench.nothing_ready(), "one holder at a time"
        bench.conclude(claim)
    assert seen == list(range(20))


def test_a_postponed_event_stays_in_front(bench: Bench) -> None:
    bench.append("x", "first")
    bench.append("x", "second")
    bench.lanes.conclude(bench.claim(), Postponed(0, "once more"))
    again = bench.claim()
    assert (bench.told(again.body), again.attempts, again.reason) == ("first", 2, "once more")


def test_a_postponed_lane_is_not_woken_early(bench: Bench) -> None:
    """Neither by a sweep, nor by another event for it, nor by a gate that opens."""
    bench.append("x", gates=("g",))
    bench.lanes.conclude(bench.claim(), Postponed(60, "not now"))
    bench.append("x", gates=("g",))
    bench.lanes.open_gate("g")
    swept = bench.lanes.sweep("send")
    assert (swept.ready, swept.expired_claims) == (0, [])
    assert swept.next_due_ms == pytest.approx(60_000, abs=2000)
    assert bench.nothing_ready()


def test_a_postponed_lane_is_woken_when_it_is_due(bench: Bench) -> None:
    bench.append("x")
    bench.lanes.conclude(bench.claim(), Postponed(0.02, "not now"))
    while bench.lanes.sweep("send").ready == 0:
        assert bench.nothing_ready()
    claim = bench.claim()
    assert claim.now_ms - claim.accepted_ms >= 20


def test_what_a_postponed_event_has_learned_is_told(bench: Bench) -> None:
    bench.append("x")
    bench.lanes.conclude(bench.claim(), Postponed(0, "scan it", settled("queued", "qr").outcomes))
    assert bench.outbox() == ["qr"]


def test_lanes_never_wait_for_each_other(bench: Bench) -> None:
    """The first is claimed, the second postponed, the third gated: the fourth is free."""
    bench.lanes.close_gate("g", 60, "closed")
    for lane in ("held", "postponed", "gated", "free"):
        bench.append(lane, gates=("g",) if lane == "gated" else ())
    assert bench.claim().lane == "held"
    bench.lanes.conclude(bench.claim(), Postponed(60, "not now"))
    assert bench.claim().lane == "free"


def test_a_long_lane_takes_turns_with_the_others_of_its_tenant(bench: Bench) -> None:
    for number in range(5):
        bench.append("long", number)
    bench.append("short")
    claim: Claim | None = bench.claim()
    lanes = []
    while claim:
        lanes.append(claim.lane)
        claim = bench.lanes.conclude(claim, settled("sent"), bench.sequence)[1]
    assert lanes == ["long", "short", "long", "long", "long", "long"]


def test_a_tenant_with_20_000_lanes_does_not_delay_a_single_event(bench: Bench) -> None:
    pipe = bench.client.pipeline(transaction=False)
    bench.client.script_load(APPEND.source)
    for number in range(20_000):
        APPEND.add_to(
            pipe,
            [PREFIX],
            bench.lanes.append_arguments([bench.item(f"lane{number}", tenant="many")]),
        )
    pipe.execute()
    claim = bench.claim()
    bench.append("single", tenant="few")
    following = [
        bench.lanes.conclude(claim, settled("sent"), bench.sequence)[1],
        bench.lanes.claim("send", bench.sequence),
    ]
    assert "single" in [claim.lane for claim in following if claim]
    bench.client.flushall()  # 20,000 lanes take seconds to look at


def test_tenants_take_turns(bench: Bench) -> None:
    for number in range(4):
        for tenant in ("a", "b", "c"):
            bench.append(f"{tenant}{number}", tenant=tenant)
    assert [claim.lane[0] for claim in bench.claims()] == list("abc" * 4)


def test_a_tenant_has_so_much_in_work_and_no_more(redis_client: "redis.Redis") -> None:
    """At its bound a tenant leaves the rotation, and returns when any of its claims ends."""
    bench = Bench(redis_client, wpp_max_inflight_per_tenant=2)
    for number in range(6):
        bench.append(f"lane{number}", tenant="greedy")
    first, second = bench.claims()
    bench.append("other", tenant="modest")
    assert [claim.lane for claim in bench.claims()] == ["other"]
    bench.conclude(first)
    [third] = bench.claims()
    bench.lanes.conclude(second, Postponed(60, "not now"))
    [_] = bench.claims()
    bench.conclude(third, "unknown")
    assert len(list(bench.claims())) == 1


def test_a_tenant_at_its_cap_comes_back_after_the_clock_gave_up_its_claims(
    redis_client: "redis.Redis",
) -> None:
    bench = Bench(redis_client, wpp_max_inflight_per_tenant=1)
    bench.append("lost")
    bench.append("waits")
    bench.claim()
    assert bench.nothing_ready()
    bench.conclude(bench.take_over(), "unknown")
    assert bench.claim().lane == "waits"


def test_kinds_do_not_share(redis_client: "redis.Redis") -> None:
    """Turns and bounds are per queue: a webhook is claimed while sends are at their bound."""
    bench = Bench(redis_client, wpp_max_inflight_per_tenant=1)
    bench.append("s1")
    bench.append("s2")
    bench.append("w", queue="webhook")
    bench.claim("send")
    assert bench.nothing_ready("send")
    assert bench.nothing_ready("provision")
    assert bench.claim("webhook").queue == "webhook"


def test_follow_ups_enter_their_lanes_with_the_verdict(bench: Bench) -> None:
    """At the end of the same lane, or in another lane at its own time."""
    bench.append("x", "first")
    bench.append("x", "second")
    follow = [bench.item("x", "third"), bench.item("y", "later", delay_s=60)]
    claim = bench.claim()
    for _ in range(2):  # a call whose reply was lost is repeated
        assert bench.lanes.conclude(claim, Settled("done", follow=follow))[0]
    seen = []
    for claim in bench.claims():
        seen.append(bench.told(claim.body))
        bench.conclude(claim)
    assert seen == ["second", "third"]
    bench.due()
    bench.lanes.sweep("send")
    assert bench.told(bench.claim().body) == "later"


def test_an_event_may_follow_itself(bench: Bench) -> None:
    """Each round of polling is a new event in the lane that just became empty."""
    bench.append("watch", 0)
    for number in range(1, 4):
        follow = bench.item("watch", number, delay_s=60)
        bench.lanes.conclude(bench.claim(), Settled("done", follow=[follow]))
        assert bench.nothing_ready()
        bench.due()
        bench.lanes.sweep("send")
    assert bench.told(bench.claim().body) == 3


def test_many_workers_at_once_keep_every_lane_in_order(bench: Bench) -> None:
    """16 threads, 40 lanes of 3 tenants, 600 events: each once, each lane in its order."""
    for number in range(15):
        for lane in range(40):
            bench.append(f"lane{lane}", number, tenant=f"tenant{lane % 3}")
    seen: dict[str, list[int]] = defaultdict(list)

    def work(_: int) -> None:
        sequence = ClaimSequence()
        claim = bench.lanes.claim("send", sequence)
        while claim:
            seen[claim.lane].append(bench.told(claim.body))
            claim = bench.lanes.conclude(claim, settled("sent", claim.id), sequence)[1]

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(16)))
    assert seen == {f"lane{lane}": list(range(15)) for lane in range(40)}
    assert len(set(bench.outbox())) == len(bench.outbox()) == 600

"""Bells: a lane that becomes ready rings for an idle consumer; a sweep repeats lost rings."""

from threading import Timer

import redis

from shared.lanes.types import ClaimSequence, Postponed
from tests.shared.lanes.harness import Bench, settled


def test_each_lane_that_becomes_ready_rings_once(bench: Bench) -> None:
    """Events behind another, and events that are not due, ring no bell."""
    for lane in ("a", "b", "b", "a"):
        bench.append(lane)
    bench.append("c", delay_s=60)
    bench.append("w", queue="webhook")
    assert (bench.bell("send"), bench.bell("webhook")) == (2, 1)


def test_a_bell_holds_a_bounded_number_of_tokens(bench: Bench) -> None:
    """Each token wakes a process, which claims for all of its threads."""
    for number in range(80):
        bench.append(f"lane{number}")
    assert bench.bell() == 64


def test_a_consumer_blocks_until_the_bell_rings(bench: Bench) -> None:
    """Then the event is there for it to claim."""
    later = Timer(0.1, bench.append, ["a"])
    later.start()
    assert bench.lanes.await_bell("send", 5)
    later.join()
    bench.claim()


def test_a_consumer_waits_for_its_timeout_at_most(bench: Bench) -> None:
    assert not bench.lanes.await_bell("send", 0.05)


def test_a_token_that_is_given_back_wakes_another_consumer(bench: Bench) -> None:
    """A process that stops at that moment leaves the event to another process."""
    bench.append("a")
    assert bench.lanes.await_bell("send", 1)
    bench.lanes.ring("send")
    assert bench.lanes.await_bell("send", 1)


def test_once_nothing_is_ready_no_token_is_left(bench: Bench) -> None:
    """A consumer that comes for a lane which was claimed meanwhile would come in vain."""
    bench.append("a")
    bench.append("b")
    for claim in bench.claims():
        bench.conclude(claim)
    assert bench.bell() == 0


def test_a_lane_that_goes_on_without_its_worker_rings(bench: Bench) -> None:
    """A process that stops concludes its event and claims none."""
    bench.append("a")
    bench.append("a")
    claim = bench.claim()
    assert bench.nothing_ready()
    assert bench.conclude(claim)
    assert bench.bell() == 1


def test_a_lane_that_goes_on_with_its_worker_does_not_ring(bench: Bench) -> None:
    bench.append("a")
    bench.append("a")
    claim = bench.claim()
    assert bench.nothing_ready()
    counted, following = bench.lanes.conclude(claim, settled("sent"), bench.sequence)
    assert counted
    assert following
    assert bench.bell() == 0


def test_an_event_that_follows_rings_the_bell_of_its_own_queue(bench: Bench) -> None:
    bench.append("a")
    follow = bench.item("w", queue="webhook")
    result = settled("sent")
    bench.lanes.conclude(bench.claim(), type(result)("sent", follow=[follow]), bench.sequence)
    assert bench.bell("webhook") == 1


def test_a_lane_that_is_due_rings_at_the_sweep(bench: Bench) -> None:
    bench.append("a")
    bench.lanes.conclude(bench.claim(), Postponed(60, "not now"))
    assert bench.nothing_ready()
    bench.due()
    bench.lanes.sweep("send")
    assert bench.bell() == 1


def test_a_gate_that_opens_rings_for_each_lane(bench: Bench) -> None:
    bench.lanes.close_gate("g", 60, "closed")
    for lane in ("a", "b"):
        bench.append(lane, gates=("g",))
    assert bench.nothing_ready()
    bench.lanes.open_gate("g")
    assert bench.bell() == 2


def test_a_tenant_that_has_room_again_rings(redis_client: "redis.Redis") -> None:
    """Its lanes were passed by while it had as much in work as it may."""
    bench = Bench(redis_client, wpp_max_inflight_per_tenant=1)
    for lane in ("a", "b"):
        bench.append(lane)
    claim = bench.claim()
    assert bench.nothing_ready()
    assert bench.conclude(claim)
    assert bench.bell() == 1


def test_a_sweep_says_how_many_could_work_and_rings_for_them(redis_client: "redis.Redis") -> None:
    """After an outage all of one tenant's lanes are due at once: it rings for those with room."""
    bench = Bench(redis_client, wpp_max_inflight_per_tenant=4)
    for number in range(10):
        bench.append(f"a{number}", tenant="a")
    for number in range(2):
        bench.append(f"b{number}", tenant="b")
    bench.client.delete("wpp:bell:send")
    for _ in range(2):
        assert bench.lanes.sweep("send").ready == 4 + 2
        assert bench.bell() == 4 + 2
    claims = [bench.claim() for _ in range(3)]
    assert sorted(claim.lane[0] for claim in claims) == ["a", "a", "b"]
    assert bench.lanes.sweep("send").ready == 2 + 1
    for claim in [*claims, *bench.claims()]:
        bench.conclude(claim)


def test_a_lost_token_is_found_by_a_sweep(bench: Bench) -> None:
    """A process was killed after the bell woke it: its lane is still ready."""
    bench.append("a")
    assert bench.lanes.await_bell("send", 1)
    assert bench.lanes.sweep("send").ready == 1
    assert bench.bell() == 1
    bench.claim()


def test_several_claims_take_one_round_trip(bench: Bench) -> None:
    """As many as were asked for, tenants in turn; the reply says whether more may be ready."""
    for number in range(5):
        bench.append(f"a{number}", tenant="a")
    bench.append("b0", tenant="b")
    found = bench.lanes.exchange("send", ClaimSequence(), 4)
    assert [claim.lane for claim in found.claims] == ["a0", "b0", "a1", "a2"]
    assert found.more
    rest = bench.lanes.exchange("send", ClaimSequence(), 4)
    assert ([claim.lane for claim in rest.claims], rest.more) == (["a3", "a4"], False)


def test_a_lost_reply_with_several_claims_is_given_again(bench: Bench) -> None:
    """All of them that still hold, under their old fences."""
    for number in range(3):
        bench.append(f"a{number}")
    lost = bench.lanes.exchange("send", ClaimSequence("one"), 3)
    bench.conclude(lost.claims[1])
    again = bench.lanes.exchange("send", ClaimSequence("one"), 3)
    assert [claim.fence for claim in again.claims] == ["1", "3"]
    assert [claim.attempts for claim in again.claims] == [1, 1]


def test_what_is_handed_back_unstarted_was_no_attempt(bench: Bench) -> None:
    """It stays at the head of its lane."""
    first = bench.append("a")
    bench.append("a")
    bench.lanes.conclude(bench.claim(), Postponed(0, "", unstarted=True))
    claim = bench.claim()
    assert (claim.id, claim.attempts) == (first, 1)

"""Bells: a lane that becomes ready rings for an idle consumer; a sweep repeats lost rings."""

from threading import Timer

from shared.lanes.client import STOP_BELL_TTL_S
from shared.lanes.types import ClaimSequence, Postponed
from shared.redis import keys
from tests.shared.lanes.harness import LaneHarness, settled


def test_each_lane_that_becomes_ready_rings_once(harness: LaneHarness) -> None:
    """Events behind another, and events that are not due, ring no bell."""
    for lane in ("a", "b", "b", "a"):
        harness.append(lane)
    harness.append("c", delay_s=60)
    harness.append("w", queue="webhook")
    assert (harness.bell("send"), harness.bell("webhook")) == (2, 1)


def test_a_bell_holds_a_bounded_number_of_tokens(harness: LaneHarness) -> None:
    """Each token wakes a process, which claims for all of its threads."""
    for number in range(80):
        harness.append(f"lane{number}")
    assert harness.bell() == 64


def test_a_consumer_blocks_until_the_bell_rings(harness: LaneHarness) -> None:
    """Then the event is there for it to claim."""
    later = Timer(0.1, harness.append, ["a"])
    later.start()
    assert harness.lanes.await_bell("send", 5)
    later.join()
    harness.claim()


def test_a_consumer_waits_for_its_timeout_at_most(harness: LaneHarness) -> None:
    assert not harness.lanes.await_bell("send", 0.05)


def test_a_token_that_is_given_back_wakes_another_consumer(harness: LaneHarness) -> None:
    """A process that stops at that moment leaves the event to another process."""
    harness.append("a")
    assert harness.lanes.await_bell("send", 1)
    harness.lanes.ring("send")
    assert harness.lanes.await_bell("send", 1)


def test_a_consumer_is_woken_without_a_token_of_the_bell(harness: LaneHarness) -> None:
    """It alone, once: now, or when it waits next."""
    harness.lanes.ring("send")
    harness.lanes.wake("one")
    assert 0 < harness.client.ttl(keys.stop_bell("one")) <= STOP_BELL_TTL_S
    assert not harness.lanes.await_bell("send", 5, "one")
    assert harness.lanes.await_bell("send", 5, "two")
    assert not harness.client.exists(keys.stop_bell("one"))


def test_once_nothing_is_ready_no_token_is_left(harness: LaneHarness) -> None:
    """A consumer that comes for a lane which was claimed meanwhile would come in vain."""
    harness.append("a")
    harness.append("b")
    for claim in harness.claims():
        harness.conclude(claim)
    assert harness.bell() == 0


def test_a_lane_that_goes_on_without_its_worker_rings(harness: LaneHarness) -> None:
    """A process that stops concludes its event and claims none."""
    harness.append("a")
    harness.append("a")
    claim = harness.claim()
    assert harness.nothing_ready()
    assert harness.conclude(claim)
    assert harness.bell() == 1


def test_a_lane_that_goes_on_with_its_worker_does_not_ring(harness: LaneHarness) -> None:
    harness.append("a")
    harness.append("a")
    claim = harness.claim()
    assert harness.nothing_ready()
    counted, following = harness.lanes.conclude(claim, settled("sent"), harness.sequence)
    assert counted
    assert following
    assert harness.bell() == 0


def test_an_event_that_follows_rings_the_bell_of_its_own_queue(harness: LaneHarness) -> None:
    harness.append("a")
    follow = harness.item("w", queue="webhook")
    result = settled("sent")
    harness.lanes.conclude(harness.claim(), type(result)("sent", follow=[follow]), harness.sequence)
    assert harness.bell("webhook") == 1


def test_a_lane_that_is_due_rings_at_the_sweep(harness: LaneHarness) -> None:
    harness.append("a")
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    assert harness.nothing_ready()
    harness.due()
    harness.lanes.sweep("send")
    assert harness.bell() == 1


def test_a_gate_that_opens_rings_for_each_lane(harness: LaneHarness) -> None:
    harness.lanes.close_gate("g", 60, "closed")
    for lane in ("a", "b"):
        harness.append(lane, gates=("g",))
    assert harness.nothing_ready()
    harness.lanes.open_gate("g")
    assert harness.bell() == 2


def test_a_tenant_that_has_room_again_rings(harness: LaneHarness) -> None:
    """Its lanes were passed by while it had its share of the threads."""
    harness.lanes.register("send", "process", 2)
    for lane in ("a", "b"):
        harness.append(lane)
    claim = harness.claim()
    assert harness.nothing_ready()
    assert harness.conclude(claim)
    assert harness.bell() == 1


def test_a_sweep_says_how_many_could_work_and_rings_for_them(harness: LaneHarness) -> None:
    """After an outage all of one tenant's lanes are due at once: it rings for its share."""
    harness.lanes.register("send", "process", 6)
    for number in range(10):
        harness.append(f"a{number}", tenant="a")
    for number in range(2):
        harness.append(f"b{number}", tenant="b")
    harness.client.delete("wpp:bell:send")
    for _ in range(2):
        assert harness.lanes.sweep("send").ready == 4 + 1
        assert harness.bell() == 4 + 1
    claims = [harness.claim() for _ in range(3)]
    assert sorted(claim.lane[0] for claim in claims) == ["a", "a", "b"]
    assert harness.lanes.sweep("send").ready == 2
    for claim in [*claims, *harness.claims()]:
        harness.conclude(claim)


def test_a_lost_token_is_found_by_a_sweep(harness: LaneHarness) -> None:
    """A process was killed after the bell woke it: its lane is still ready."""
    harness.append("a")
    assert harness.lanes.await_bell("send", 1)
    assert harness.lanes.sweep("send").ready == 1
    assert harness.bell() == 1
    harness.claim()


def test_several_claims_take_one_round_trip(harness: LaneHarness) -> None:
    """As many as were asked for, tenants in turn; the reply says whether more may be ready."""
    for number in range(5):
        harness.append(f"a{number}", tenant="a")
    harness.append("b0", tenant="b")
    found = harness.lanes.exchange("send", ClaimSequence(), 4)
    assert [claim.lane for claim in found.claims] == ["a0", "b0", "a1", "a2"]
    assert found.more
    rest = harness.lanes.exchange("send", ClaimSequence(), 4)
    assert ([claim.lane for claim in rest.claims], rest.more) == (["a3", "a4"], False)


def test_a_lost_reply_with_several_claims_is_given_again(harness: LaneHarness) -> None:
    """All of them that still hold, under their old fences."""
    for number in range(3):
        harness.append(f"a{number}")
    lost = harness.lanes.exchange("send", ClaimSequence("one"), 3)
    harness.conclude(lost.claims[1])
    again = harness.lanes.exchange("send", ClaimSequence("one"), 3)
    assert [claim.fence for claim in again.claims] == ["1", "3"]
    assert [claim.attempts for claim in again.claims] == [1, 1]


def test_what_is_handed_back_unstarted_was_no_attempt(harness: LaneHarness) -> None:
    """It stays at the head of its lane."""
    first = harness.append("a")
    harness.append("a")
    harness.lanes.conclude(harness.claim(), Postponed(0, "", unstarted=True))
    claim = harness.claim()
    assert (claim.id, claim.attempts) == (first, 1)

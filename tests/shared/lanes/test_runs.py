"""Runs: a claim with the events behind the claimed event, and their ends in order."""

from typing import Any
from uuid import UUID

import pytest
import redis

from shared.lanes.types import Claim, ClaimSequence, Exchange, Postponed, Settled
from shared.lanes.wire import dump_result
from tests.shared.lanes.harness import LaneHarness, outcome, settled


@pytest.fixture
def runs(harness: LaneHarness) -> LaneHarness:
    """Return lanes whose claims are for up to four events."""
    harness.lanes.runs["send"] = 4
    return harness


def end_of(claim: Claim, *told: object, first: Settled | None = None) -> Settled:
    """Return the end of a claim with those of the events behind it, as far as something is told."""
    run = [(each, settled("done", of)) for each, of in zip(claim.following, told, strict=False)]
    head = first or settled("done", "head")
    return Settled(head.state, head.outcomes, head.fields, head.follow, run)


def exchange(runs: LaneHarness, claim: Claim, end: Settled, count: int = 0) -> Exchange:
    text = dump_result(claim, end, runs.lanes.settings)
    return runs.lanes.exchange(claim.queue, ClaimSequence(), count, [text])


def told_behind(runs: LaneHarness, claim: Claim) -> list[Any]:
    return [runs.told(each.body) for each in claim.following]


def states(runs: LaneHarness, ids: list[UUID]) -> list[str | None]:
    return [runs.state(each) for each in ids]


def test_a_claim_comes_with_the_events_behind_it(runs: LaneHarness) -> None:
    """As many as the queue allows, in order; these stay queued."""
    ids = [runs.append("x", n) for n in range(6)]
    runs.append("y", "other")
    claim = runs.claim()
    assert told_behind(runs, claim) == [1, 2, 3]
    assert [each.id for each in claim.following] == ids[1:4]
    assert {(each.fence, each.lane, each.attempts) for each in claim.following} == {
        (claim.fence, "x", 1)
    }
    assert states(runs, ids) == ["claimed", *["queued"] * 5]
    assert runs.told(runs.claim().body) == "other"
    assert runs.nothing_ready(), "the lane of a run is claimed as any other"


def test_a_queue_without_runs_claims_single_events(harness: LaneHarness) -> None:
    harness.append("x", 1)
    harness.append("x", 2)
    assert harness.claim().following == ()


def test_a_run_ends_in_order_in_one_step(runs: LaneHarness) -> None:
    ids = [runs.append("x", n) for n in range(4)]
    claim = runs.claim()
    found = exchange(runs, claim, end_of(claim, "one", "two", "three"))
    assert (found.counted, found.run) == ([True], [3])
    assert states(runs, ids) == ["done"] * 4
    assert runs.outbox() == ["head", "one", "two", "three"]
    record: Any = runs.client.hgetall(f"wpp:event:{ids[2]}")
    assert (record[b"attempts"], runs.client.ttl(f"wpp:event:{ids[2]}") > 0) == (b"1", True)
    assert runs.nothing_ready()


def test_what_a_worker_leaves_of_a_run_is_claimed_next(runs: LaneHarness) -> None:
    """Say, after an error: the event gets its own claim, with the rest of the lane."""
    ids = [runs.append("x", n) for n in range(4)]
    claim = runs.claim()
    found = exchange(runs, claim, end_of(claim, "one"), count=1)
    assert found.run == [1]
    [rest] = found.claims
    assert (rest.id, rest.attempts, told_behind(runs, rest)) == (ids[2], 1, [3])
    assert states(runs, ids) == ["done", "done", "claimed", "queued"]


def test_a_postponed_event_keeps_those_behind_it(runs: LaneHarness) -> None:
    ids = [runs.append("x", n) for n in range(3)]
    runs.lanes.conclude(runs.claim(), Postponed(0, "not now"))
    claim = runs.claim()
    assert (claim.id, told_behind(runs, claim)) == (ids[0], [1, 2])


def test_a_run_ends_before_an_event_that_has_to_wait(runs: LaneHarness) -> None:
    """Delayed, at a gate, tried before, expired, or of a newer version."""
    waiting: dict[str, dict[str, Any]] = {
        "delayed": {"delay_s": 60},
        "gated": {"gates": ("g",)},
        "newer": {"version": 99},
    }
    for name, more in waiting.items():
        runs.append(name, "first")
        runs.append(name, "second")
        runs.append(name, "third", **more)
        runs.append(name, "fourth")
    tried = [runs.append("tried", n) for n in range(3)]
    runs.client.hset(f"wpp:event:{tried[1]}", "attempts", 1)
    expired = [runs.append("expired", n) for n in range(3)]
    runs.client.hset(f"wpp:event:{expired[2]}", "expires", 1)
    found = {claim.lane: told_behind(runs, claim) for claim in runs.claims()}
    assert found == {
        "delayed": ["second"],
        "gated": ["second"],
        "newer": ["second"],
        "tried": [],
        "expired": [1],
    }


def test_a_worker_that_dies_leaves_the_events_behind_it_untouched(runs: LaneHarness) -> None:
    """After a takeover the late result ends the claimed event alone."""
    ids = [runs.append("x", n) for n in range(3)]
    late = runs.claim()
    taken = runs.take_over()
    assert (taken.id, taken.following) == (ids[0], ())
    runs.lanes.conclude(taken, Postponed(0, "its worker stopped"))
    assert states(runs, ids) == ["queued"] * 3
    found = exchange(runs, late, end_of(late, "one", "two"))
    assert (found.counted, found.run) == ([True], [0])
    again = runs.claim()
    assert (again.id, told_behind(runs, again)) == (ids[1], [2])
    assert runs.outbox() == ["head"]


def test_a_late_result_ends_no_event_that_another_worker_holds(runs: LaneHarness) -> None:
    """The late end of the claimed event counts, without the rest of the run."""
    ids = [runs.append("x", n) for n in range(3)]
    late = runs.claim()
    runs.client.hset("wpp:lane:x:state", "fence", int(late.fence) + 1)
    found = exchange(runs, late, end_of(late, "one", "two"))
    assert (found.counted, found.run) == ([True], [0])
    assert states(runs, ids) == ["done", "queued", "queued"]


def test_a_result_that_is_sent_twice_ends_a_run_once(runs: LaneHarness) -> None:
    """After a lost reply the answer is the same, although the lane has moved on."""
    for n in range(3):
        runs.append("x", n)
    claim = runs.claim()
    runs.append("x", "later")
    end = end_of(claim, "one", "two")
    first = exchange(runs, claim, end, count=1)
    again = exchange(runs, claim, end)
    assert (first.counted, first.run) == (again.counted, again.run) == ([True], [2])
    assert runs.outbox() == ["head", "one", "two"]
    assert [runs.told(each.body) for each in first.claims] == ["later"]


def test_a_claim_whose_reply_was_lost_comes_with_its_run_again(runs: LaneHarness) -> None:
    for n in range(3):
        runs.append("x", n)
    first = runs.claim()
    runs.sequence.number -= 1
    again = runs.claim()
    assert (again.fence, told_behind(runs, again)) == (first.fence, [1, 2])


def test_a_cancelled_event_ends_the_run(runs: LaneHarness) -> None:
    """Events behind the cancelled event are claimed later."""
    ids = [runs.append("x", n) for n in range(4)]
    claim = runs.claim()
    assert runs.lanes.cancel(ids[2], "send", "one", settled("cancelled")) == "ok"
    found = exchange(runs, claim, end_of(claim, "one", "two", "three"))
    assert found.run == [1]
    assert states(runs, ids) == ["done", "done", "cancelled", "queued"]
    assert runs.outbox() == ["head", "one"]
    assert runs.claim().id == ids[3]


def test_an_event_without_a_record_ends_the_run(runs: LaneHarness) -> None:
    ids = [runs.append("x", n) for n in range(3)]
    claim = runs.claim()
    runs.client.delete(f"wpp:event:{ids[1]}")
    assert exchange(runs, claim, end_of(claim, "one", "two")).run == [0]
    assert runs.claim().id == ids[2], "the lane goes on"
    runs.client.delete("wpp:lost:send")


def test_levels_of_a_run_are_counted(runs: LaneHarness) -> None:
    """After its urgent event a lane stands among the usual lanes."""
    runs.append("x", "first")
    runs.append("x", "urgent", level="high")
    runs.append("x", "usual")
    claim = runs.claim()
    exchange(runs, claim, end_of(claim, "urgent"))
    assert runs.client.lrange("wpp:ready:send:one", 0, -1) == [b"x"]
    assert runs.claim().id == claim.following[1].id


def test_what_follows_an_event_of_a_run_is_appended(runs: LaneHarness) -> None:
    runs.append("x", "first")
    runs.append("x", "second")
    claim = runs.claim()
    [behind] = claim.following
    follow = [runs.item("media", "its file", queue="media")]
    end = Settled("done", [outcome("head")], run=[(behind, Settled("done", follow=follow))])
    assert exchange(runs, claim, end).run == [1]
    assert runs.told(runs.claim("media").body) == "its file"


def test_a_run_costs_a_fraction_of_its_claims(runs: LaneHarness, redis_client: redis.Redis) -> None:
    def count_commands() -> int:
        commands: Any = redis_client.info("commandstats")
        return sum(each["calls"] for each in commands.values())

    costs = []
    for length in (1, 4):
        runs.lanes.runs["send"] = length
        for n in range(8):
            runs.append("x", n)
        redis_client.config_resetstat()
        for claim in runs.claims():
            exchange(runs, claim, end_of(claim, "one", "two", "three"))
        costs.append(count_commands())
    assert costs[1] < costs[0] / 2, costs

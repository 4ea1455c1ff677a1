"""Resolve and replay: unknown events settled, failed events put back, each with a single effect."""

import pytest
import redis

from shared.errors import OverloadedError
from shared.lanes.types import Postponed, Settled
from tests.shared.lanes.harness import LaneHarness, outcome, settled


def test_what_is_unknown_is_settled_by_whoever_knows(harness: LaneHarness) -> None:
    """Repeated, it has a single effect. A settled event stays as it is."""
    event_id = harness.append("x")
    assert not harness.lanes.resolve(event_id, settled("sent")), "it is not unknown"
    claim = harness.claim()
    harness.conclude(claim, "unknown", "unknown")
    for _ in range(2):
        assert harness.lanes.resolve(event_id, Settled("sent", [outcome("sent")], {"task_id": "t"}))
    assert not harness.lanes.resolve(event_id, settled("failed", "failed"))
    assert harness.outbox() == ["unknown", "sent"]
    assert (harness.state(event_id), harness.client.hget(f"wpp:event:{event_id}", "task_id")) == (
        "sent",
        b"t",
    )
    assert harness.client.ttl(f"wpp:event:{event_id}") > 0


def test_what_is_unknown_is_sent_once_more_as_the_last_of_its_lane(
    redis_client: "redis.Redis",
) -> None:
    """With its whole time before it again. Asked for twice, it is sent once more, not twice."""
    harness = LaneHarness(redis_client)
    event_id = harness.append("x", "first")
    harness.conclude(harness.claim(), "unknown")
    harness.append("x", "second")
    redis_client.hset(f"wpp:event:{event_id}", "expires", 1)
    for _ in range(2):
        assert harness.lanes.resolve(event_id, settled("queued"))
    seen = []
    for claim in harness.claims():
        seen.append(harness.told(claim.body))
        assert not claim.expired
        harness.conclude(claim)
    assert seen == ["second", "first"]
    assert harness.state(event_id) == "sent"


def test_an_event_nobody_knows_is_not_resolved(harness: LaneHarness) -> None:
    assert not harness.lanes.resolve(harness.item("x").id, settled("sent"))


def test_a_lane_lists_what_is_unknown_in_it(harness: LaneHarness) -> None:
    """The late worker itself or another source settles it."""
    late, other = harness.append("x", "late"), harness.append("x", "other")
    slow = harness.claim()
    harness.conclude(harness.take_over(), "unknown")
    harness.conclude(harness.claim(), "unknown")
    assert set(harness.lanes.unknown_events("x")) == {late, other}
    assert harness.conclude(slow, "sent")
    assert harness.lanes.unknown_events("x") == [other]
    harness.lanes.resolve(other, settled("failed"))
    assert harness.lanes.unknown_events("x") == []
    assert not harness.client.exists("wpp:unknown:x")


def test_what_goes_out_once_more_is_no_longer_unknown(harness: LaneHarness) -> None:
    event_id = harness.append("x")
    harness.conclude(harness.claim(), "unknown")
    harness.lanes.resolve(event_id, settled("queued"))
    assert harness.lanes.unknown_events("x") == []


def test_what_failed_is_put_back_as_if_new(harness: LaneHarness) -> None:
    """Last in its lane, with all its attempts and its whole time before it."""
    item = harness.item("x", "first", gates=("g",))
    harness.lanes.append(item)
    harness.conclude(harness.claim(), "failed")
    harness.append("x", "second")
    assert [harness.lanes.replay(item) for _ in range(2)] == [True, False]
    assert harness.client.ttl(f"wpp:event:{item.id}") == -1
    seen = []
    for claim in harness.claims():
        seen.append((harness.told(claim.body), claim.attempts))
        assert not claim.expired
        harness.conclude(claim)
    assert seen == [("second", 1), ("first", 1)]
    assert not harness.lanes.replay(item), "it has been sent"


def test_what_failed_so_long_ago_that_nobody_remembers_is_put_back(harness: LaneHarness) -> None:
    """Its record is gone; the dead letter has kept it whole."""
    item = harness.item("x", "hello")
    assert [harness.lanes.replay(item) for _ in range(2)] == [True, False]
    assert harness.told(harness.claim().body) == "hello"


@pytest.mark.parametrize("state", ["sent", "done", "unknown"])
def test_what_has_not_failed_is_not_put_back(harness: LaneHarness, state: str) -> None:
    item = harness.item("x")
    harness.lanes.append(item)
    assert not harness.lanes.replay(item)
    claim = harness.claim()
    assert not harness.lanes.replay(item)
    harness.conclude(claim, state)  # type: ignore[arg-type]
    assert not harness.lanes.replay(item)
    assert harness.nothing_ready()


def test_whoever_failed_at_it_before_has_no_say_after_it_was_put_back(harness: LaneHarness) -> None:
    """The worker repeats its verdict because it heard no answer: the event waits on."""
    item = harness.item("x")
    harness.lanes.append(item)
    claim = harness.claim()
    assert harness.conclude(claim, "failed", "failed")
    harness.lanes.replay(item)
    assert not harness.conclude(claim, "failed", "failed")
    assert harness.state(item.id) == "queued"
    assert harness.outbox() == ["failed"]


def test_nothing_is_put_back_while_the_outbox_is_full(redis_client: "redis.Redis") -> None:
    """It says so, rather than that it is done."""
    harness = LaneHarness(redis_client, wpp_outbox_limit=1)
    redis_client.xadd("wpp:outbox", {"r": "{}"})
    with pytest.raises(OverloadedError):
        harness.lanes.replay(harness.item("x"))


def test_late_news_of_one_that_is_not_in_front_wakes_nobody(harness: LaneHarness) -> None:
    """A resend that turns out to be sent is removed; the postponed head waits on."""
    harness.append("x", "first")
    harness.append("x", "second")
    slow = harness.claim()
    harness.conclude(harness.take_over(), "unknown")
    harness.lanes.conclude(harness.claim(), Postponed(60, "not now"))
    harness.lanes.resolve(slow.id, settled("queued"))
    assert harness.conclude(slow, "sent")
    assert harness.nothing_ready()
    harness.end("delayed:send")
    assert harness.lanes.sweep("send").ready == 1
    assert harness.told(harness.claim().body) == "second"

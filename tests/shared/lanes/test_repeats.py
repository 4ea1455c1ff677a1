"""Resolve and replay: unknown events settled, failed events put back, each with a single effect."""

import pytest
import redis

from shared.errors import OverloadedError
from shared.lanes.types import Postponed, Settled
from tests.shared.lanes.harness import Bench, outcome, settled


def test_what_is_unknown_is_settled_by_whoever_knows(bench: Bench) -> None:
    """Repeated, it has a single effect. A settled event stays as it is."""
    event_id = bench.append("x")
    assert not bench.lanes.resolve(event_id, settled("sent")), "it is not unknown"
    claim = bench.claim()
    bench.conclude(claim, "unknown", "unknown")
    for _ in range(2):
        assert bench.lanes.resolve(event_id, Settled("sent", [outcome("sent")], {"task_id": "t"}))
    assert not bench.lanes.resolve(event_id, settled("failed", "failed"))
    assert bench.outbox() == ["unknown", "sent"]
    assert (bench.state(event_id), bench.client.hget(f"wpp:event:{event_id}", "task_id")) == (
        "sent",
        b"t",
    )
    assert bench.client.ttl(f"wpp:event:{event_id}") > 0


def test_what_is_unknown_is_sent_once_more_as_the_last_of_its_lane(
    redis_client: "redis.Redis",
) -> None:
    """With its whole time before it again. Asked for twice, it is sent once more, not twice."""
    bench = Bench(redis_client)
    event_id = bench.append("x", "first")
    bench.conclude(bench.claim(), "unknown")
    bench.append("x", "second")
    redis_client.hset(f"wpp:event:{event_id}", "expires", 1)
    for _ in range(2):
        assert bench.lanes.resolve(event_id, settled("queued"))
    seen = []
    for claim in bench.claims():
        seen.append(bench.told(claim.body))
        assert not claim.expired
        bench.conclude(claim)
    assert seen == ["second", "first"]
    assert bench.state(event_id) == "sent"


def test_an_event_nobody_knows_is_not_resolved(bench: Bench) -> None:
    assert not bench.lanes.resolve(bench.item("x").id, settled("sent"))


def test_a_lane_lists_what_is_unknown_in_it(bench: Bench) -> None:
    """The late worker itself or another source settles it."""
    late, other = bench.append("x", "late"), bench.append("x", "other")
    slow = bench.claim()
    bench.conclude(bench.take_over(), "unknown")
    bench.conclude(bench.claim(), "unknown")
    assert set(bench.lanes.unknown_events("x")) == {late, other}
    assert bench.conclude(slow, "sent")
    assert bench.lanes.unknown_events("x") == [other]
    bench.lanes.resolve(other, settled("failed"))
    assert bench.lanes.unknown_events("x") == []
    assert not bench.client.exists("wpp:unknown:x")


def test_what_goes_out_once_more_is_no_longer_unknown(bench: Bench) -> None:
    event_id = bench.append("x")
    bench.conclude(bench.claim(), "unknown")
    bench.lanes.resolve(event_id, settled("queued"))
    assert bench.lanes.unknown_events("x") == []


def test_what_failed_is_put_back_as_if_new(bench: Bench) -> None:
    """Last in its lane, with all its attempts and its whole time before it."""
    item = bench.item("x", "first", gates=("g",))
    bench.lanes.append(item)
    bench.conclude(bench.claim(), "failed")
    bench.append("x", "second")
    assert [bench.lanes.replay(item) for _ in range(2)] == [True, False]
    assert bench.client.ttl(f"wpp:event:{item.id}") == -1
    seen = []
    for claim in bench.claims():
        seen.append((bench.told(claim.body), claim.attempts))
        assert not claim.expired
        bench.conclude(claim)
    assert seen == [("second", 1), ("first", 1)]
    assert not bench.lanes.replay(item), "it has been sent"


def test_what_failed_so_long_ago_that_nobody_remembers_is_put_back(bench: Bench) -> None:
    """Its record is gone; the dead letter has kept it whole."""
    item = bench.item("x", "hello")
    assert [bench.lanes.replay(item) for _ in range(2)] == [True, False]
    assert bench.told(bench.claim().body) == "hello"


@pytest.mark.parametrize("state", ["sent", "done", "unknown"])
def test_what_has_not_failed_is_not_put_back(bench: Bench, state: str) -> None:
    item = bench.item("x")
    bench.lanes.append(item)
    assert not bench.lanes.replay(item)
    claim = bench.claim()
    assert not bench.lanes.replay(item)
    bench.conclude(claim, state)  # type: ignore[arg-type]
    assert not bench.lanes.replay(item)
    assert bench.nothing_ready()


def test_whoever_failed_at_it_before_has_no_say_after_it_was_put_back(bench: Bench) -> None:
    """The worker repeats its verdict because it heard no answer: the event waits on."""
    item = bench.item("x")
    bench.lanes.append(item)
    claim = bench.claim()
    assert bench.conclude(claim, "failed", "failed")
    bench.lanes.replay(item)
    assert not bench.conclude(claim, "failed", "failed")
    assert bench.state(item.id) == "queued"
    assert bench.outbox() == ["failed"]


def test_nothing_is_put_back_while_the_outbox_is_full(redis_client: "redis.Redis") -> None:
    """It says so, rather than that it is done."""
    bench = Bench(redis_client, wpp_outbox_limit=1)
    redis_client.xadd("wpp:outbox", {"r": "{}"})
    with pytest.raises(OverloadedError):
        bench.lanes.replay(bench.item("x"))


def test_late_news_of_one_that_is_not_in_front_wakes_nobody(bench: Bench) -> None:
    """A resend that turns out to be sent is removed; the postponed head waits on."""
    bench.append("x", "first")
    bench.append("x", "second")
    slow = bench.claim()
    bench.conclude(bench.take_over(), "unknown")
    bench.lanes.conclude(bench.claim(), Postponed(60, "not now"))
    bench.lanes.resolve(slow.id, settled("queued"))
    assert bench.conclude(slow, "sent")
    assert bench.nothing_ready()
    bench.end("delayed:send")
    assert bench.lanes.sweep("send").ready == 1
    assert bench.told(bench.claim().body) == "second"

"""Append: once per key, refused when too much waits, with its outcomes in the same step."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.errors import IdempotencyConflictError, OverloadedError
from shared.lanes.records import total_waiting
from shared.lanes.types import Append, Postponed, Settled
from shared.lanes.wire import fingerprint, read_accepted
from shared.redis import keys
from shared.redis.client import connect_async
from tests.shared.lanes.harness import LaneHarness, outcome, settled


def test_a_new_event_is_queued_and_told(harness: LaneHarness) -> None:
    answer = harness.lanes.append(harness.item("x", outcomes=(outcome("queued"),)))
    assert (answer.new, answer.state) == (True, "queued")
    assert harness.outbox() == ["queued"]


def test_the_same_request_twice_is_one_event(harness: LaneHarness) -> None:
    """The second answer names the first event, as it stands now; nothing is told twice."""
    event_id = uuid4()
    for new in (True, False):
        answer = harness.lanes.append(
            harness.item("x", "hello", id=event_id, outcomes=(outcome("queued"),))
        )
        assert (answer.id, answer.new, answer.state) == (event_id, new, "queued")
    assert harness.outbox() == ["queued"]
    assert len(list(harness.claims())) == 1


def test_the_same_key_answers_with_what_has_become_of_the_event(harness: LaneHarness) -> None:
    event_id = harness.append("x", "hello")
    claim = harness.claim()
    assert harness.lanes.append(harness.item("x", "hello", id=event_id)).state == "claimed"
    harness.conclude(claim)
    assert harness.lanes.append(harness.item("x", "hello", id=event_id)).state == "sent"
    assert harness.nothing_ready()


def test_the_same_key_for_something_else_is_refused(harness: LaneHarness) -> None:
    event_id = harness.append("x", "hello")
    with pytest.raises(IdempotencyConflictError, match="different request"):
        harness.append("x", "good-bye", id=event_id)
    assert total_waiting(harness.client, ["send"]) == {"send": {"one": 1}}


def test_a_given_fingerprint_tells_what_is_the_same(harness: LaneHarness) -> None:
    """Two bodies with the same fingerprint are the same request: the first body counts."""
    event_id = harness.append("x", "first", fingerprint="same")
    assert harness.append("x", "second", id=event_id, fingerprint="same") == event_id
    assert harness.told(harness.claim().body) == "first"


def test_one_key_from_64_threads_at_once_is_one_event(harness: LaneHarness) -> None:
    event_id, together = uuid4(), threading.Barrier(64)

    def append(_: int) -> bool:
        together.wait()
        return harness.lanes.append(
            harness.item("x", "hello", id=event_id, outcomes=(outcome("queued"),))
        ).new

    with ThreadPoolExecutor(64) as threads:
        assert sorted(threads.map(append, range(64)))[-2:] == [False, True]
    assert harness.outbox() == ["queued"]
    assert len(list(harness.claims())) == 1


def test_any_text_arrives_as_it_was_written(harness: LaneHarness) -> None:
    text = 'a "quoted" \\ back\\slash, \u0000, \u2028, Привет, 👩‍👩‍👧, \ud83d\ude00'.encode(
        "utf-16", "surrogatepass"
    ).decode("utf-16")
    harness.append("x", text)
    assert harness.told(harness.claim().body) == text


def test_a_full_outbox_refuses_new_events_and_pauses_claims(redis_client: "redis.Redis") -> None:
    """Claimed events are still concluded, which drains the outbox; known keys are answered."""
    harness = LaneHarness(redis_client, wpp_outbox_limit=3)
    first, _ = harness.append("x"), harness.append("y")
    claim = harness.claim()
    assert harness.lanes.conclude(
        claim, Settled("sent", [outcome(n) for n in range(3)]), harness.sequence
    ) == (True, None)
    assert harness.lanes.claim("send", harness.sequence) is None
    with pytest.raises(OverloadedError, match="waiting to be written"):
        harness.append("z")
    assert harness.lanes.append(harness.item("x", id=first)).state == "sent"
    redis_client.xtrim("wpp:outbox", maxlen=0)
    assert harness.claim().lane == "y"


def test_a_full_outbox_does_not_lose_what_follows(redis_client: "redis.Redis") -> None:
    """A follow-up was accepted with its event: it is never refused."""
    harness = LaneHarness(redis_client, wpp_outbox_limit=2)
    harness.append("x")
    follow = harness.item("watch")
    harness.lanes.conclude(
        harness.claim(), Settled("done", [outcome(1), outcome(2)], follow=[follow])
    )
    redis_client.xtrim("wpp:outbox", maxlen=0)
    assert harness.claim().id == follow.id


@contextmanager
def full_memory(client: "redis.Redis") -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def test_a_full_memory_refuses_new_events_and_lets_the_others_end(harness: LaneHarness) -> None:
    """What is accepted goes out, is told, postponed, taken over: only that makes room again."""
    for lane in "abc":
        harness.append(lane)
    with full_memory(harness.client):
        with pytest.raises(OverloadedError):
            harness.append("d")
        with pytest.raises(OverloadedError):
            harness.lanes.replay(harness.item("d"))
        sent, postponed, slow = harness.claims()
        assert harness.conclude(sent, "sent", "sent")
        assert harness.lanes.conclude(postponed, Postponed(60, "not now"))[0]
        assert harness.lanes.extend(slow)
    harness.end("leases:send")
    with full_memory(harness.client):
        [taken] = harness.lanes.sweep("send").expired_claims
        assert harness.conclude(taken, "unknown", "unknown")
        assert harness.lanes.resolve(slow.id, settled("sent", "known"))
    assert harness.outbox() == ["sent", "unknown", "known"]


def test_one_tenant_cannot_fill_redis_for_the_others(redis_client: "redis.Redis") -> None:
    """Past its bound a queue refuses this tenant alone, and no follower of an accepted event."""
    harness = LaneHarness(redis_client, wpp_waiting_limit=2)
    first = harness.append("x")
    harness.append("y")
    with pytest.raises(OverloadedError, match="yours"):
        harness.append("z")
    assert not harness.lanes.append(harness.item("x", id=first)).new
    harness.append("z", tenant="two")
    harness.append("z2", queue="webhook")
    claim = next(claim for claim in harness.claims() if claim.id == first)
    follow = [harness.item("v", queue="webhook"), harness.item("w", queue="webhook")]
    assert harness.lanes.conclude(claim, Settled("sent", follow=follow))[0]
    harness.append("z")


def test_one_tenant_cannot_fill_redis_with_large_events(redis_client: "redis.Redis") -> None:
    """Past its bytes a queue refuses this tenant alone; a settled event makes room again."""
    harness = LaneHarness(redis_client, wpp_waiting_bytes_limit=10_000)
    first = harness.append("x", "a" * 9_000)
    harness.append("y", "a" * 2_000)
    with pytest.raises(OverloadedError, match="WPP_WAITING_BYTES_LIMIT"):
        harness.append("z")
    assert not harness.lanes.append(harness.item("x", "a" * 9_000, id=first)).new
    harness.append("z", tenant="two")
    harness.append("z2", queue="webhook")
    claim = next(claim for claim in harness.claims() if claim.id == first)
    follow = harness.item("v", "a" * 20_000, queue="webhook")
    assert harness.lanes.conclude(claim, Settled("sent", follow=[follow]))[0]
    harness.append("z")
    with pytest.raises(OverloadedError, match="WPP_WAITING_BYTES_LIMIT"):
        harness.append("z3", queue="webhook")


def test_what_is_stored_beside_an_event_counts_with_it(redis_client: "redis.Redis") -> None:
    """Also while it goes out once more, or is put back, and not after its end."""
    harness = LaneHarness(redis_client)

    def counted() -> int:
        return int(redis_client.hget(keys.waiting_bytes("send"), "one") or 0)

    item = harness.item("x", bytes_beside=1_000_000)
    harness.lanes.append(item)
    size = len(item.body) + 1_000_000
    assert counted() == size
    harness.lanes.conclude(harness.claim(), Postponed(0, "not now", fields={"body": "changed"}))
    assert counted() == size
    harness.conclude(harness.claim(), "unknown")
    assert counted() == 0
    harness.lanes.resolve(item.id, settled("queued"))
    assert counted() == size
    harness.conclude(harness.claim(), "failed")
    assert counted() == 0
    harness.lanes.replay(item)
    assert counted() == size
    harness.conclude(harness.claim(), "sent")
    assert not redis_client.exists(keys.waiting_bytes("send"))


def test_a_finished_event_is_remembered_for_the_record_ttl(redis_client: "redis.Redis") -> None:
    """Its content is dropped at once; an event that is waiting, or unknown, is never forgotten."""
    harness = LaneHarness(redis_client, wpp_record_ttl_s=1000, wpp_max_age_s=900)
    for state in ("sent", "failed", "done", "unknown"):
        harness.append(state)
    waiting = harness.append("waiting")
    for claim, state in zip(harness.claims(), ("sent", "failed", "done", "unknown"), strict=False):
        harness.conclude(claim, state)  # type: ignore[arg-type]
        ends = state != "unknown"
        assert (990 < redis_client.ttl(f"wpp:event:{claim.id}") <= 1000) == ends
        assert redis_client.hexists(f"wpp:event:{claim.id}", "body") != ends
    assert redis_client.ttl(f"wpp:event:{waiting}") == -1


def test_nothing_is_left_behind_when_everything_is_settled(harness: LaneHarness) -> None:
    """Only records, the counter of claims, a sequence per thread and the outbox remain."""
    for number in range(30):
        harness.append(f"lane{number % 7}", tenant=f"tenant{number % 3}", gates=("g",))
    harness.lanes.close_gate("g", 60, "closed")
    assert harness.nothing_ready()
    harness.lanes.open_gate("g")
    postponed = harness.claim()
    harness.lanes.conclude(postponed, Postponed(60, "later"))
    harness.end("delayed:send")
    harness.lanes.sweep("send")
    for claim in harness.claims():
        harness.conclude(claim)
    kept = {key.decode().split(":")[1] for key in harness.client.keys("wpp:*")}
    assert kept == {"event", "fence", "reply", "last_sweep", "clock"}


def test_equal_requests_have_equal_fingerprints() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1, "b": [2]}) != fingerprint({"a": 1, "b": [3]})


def test_appends_share_a_round_trip(redis_server: RedisServer, harness: LaneHarness) -> None:
    """Many appends are an atomic step with a reply each."""
    items = [harness.item("x", number) for number in range(3)]
    items.append(replace(items[0], fingerprint="another request"))

    async def append() -> list[Any]:
        client = connect_async(SecretStr(redis_server.url))
        try:
            return await harness.lanes.append_async(client, items)
        finally:
            await client.aclose()

    *replies, last = asyncio.run(append())
    accepted = [read_accepted(item, reply) for item, reply in zip(items, replies, strict=False)]
    assert [each.id for each in accepted] == [item.id for item in items[:3]]
    with pytest.raises(IdempotencyConflictError):
        read_accepted(items[3], last)


def test_events_of_one_call_are_appended_as_one_by_one(redis_client: "redis.Redis") -> None:
    """The same answers, and the same in Redis: also next to limits, ids twice, and every level."""
    harness = LaneHarness(
        redis_client, wpp_waiting_limit=9, wpp_waiting_bytes_limit=1700, wpp_outbox_limit=35
    )
    words = set()
    for seed in range(25):
        random = Random(seed)  # noqa: S311 - no secret
        batches = [make_batch(harness, random) for _ in range(2)]
        together = append_batches(harness, batches, harness.lanes.append_all)
        one_by_one = append_batches(
            harness, batches, lambda items: [harness.lanes.append_all([item])[0] for item in items]
        )
        assert together == one_by_one, seed
        words |= {tuple(reply) for reply in together[0]}
    assert words >= {
        (b"new", b"queued"),
        (b"new", b"scheduled"),
        (b"same", b"queued"),
        (b"conflict",),
        (b"full", b"waiting"),
        (b"full", b"bytes"),
        (b"full", b"outbox"),
    }


def append_batches(
    harness: LaneHarness,
    batches: Sequence[list[Append]],
    append: Callable[[list[Append]], list[Any]],
) -> tuple[list[Any], dict[str, Any]]:
    """Return the replies, and what is in Redis then: some events end between the batches."""
    harness.client.flushall()
    first, second = batches
    replies = append(first)
    for claim, _ in zip(harness.claims(), range(3), strict=False):
        harness.conclude(claim)
    return replies + append([*second, *first[:3]]), describe(harness.client)


def make_batch(harness: LaneHarness, random: Random) -> list[Append]:
    items: list[Append] = []
    for number in range(random.choice((1, 12, 30))):
        if items and random.random() < 0.1:
            again = random.choice(items)
            items.append(random.choice((again, replace(again, fingerprint="another request"))))
            continue
        tenant = random.choice(("one", "two", "three"))
        item = harness.item(
            f"{tenant} {random.randrange(6)}",
            number,
            tenant=tenant,
            queue=random.choice(("send", "send", "webhook")),
            level=random.choice(("normal", "normal", "high", "low")),
            gates=random.choice(((), ("a", "b"))),
            delay_s=random.choice((0, 0, 60)),
            bytes_beside=random.choice((0, 100)),
            send_at=random.choice((None, None, datetime(2999, 1, 1, tzinfo=UTC))),
            outcomes=tuple(outcome(number) for _ in range(random.randrange(3))),
        )
        items.append(item)
    return items


def describe(client: Any) -> dict[str, Any]:
    """Return all that is in Redis, but for times, and ids that are made from the time."""
    rows = dict(client.xrange("wpp:outbox"))
    read = {
        b"string": client.get,
        b"list": lambda key: [rows.get(each, each) for each in client.lrange(key, 0, -1)],
        b"set": client.smembers,
        b"zset": lambda key: set(client.zrange(key, 0, -1)),
        b"stream": lambda key: [fields for _, fields in client.xrange(key)],
        b"hash": lambda key: {
            name: value
            for name, value in client.hgetall(key).items()
            if name not in {b"accepted", b"claimed", b"expires", b"due", b"settled"}
        },
    }
    names = [key for key in client.keys("*") if b"clock" not in key and b"reply:" not in key]
    return {key.decode(): read[client.type(key)](key) for key in names}


def test_a_delayed_event_waits_its_time_also_behind_others(harness: LaneHarness) -> None:
    harness.append("x", "now")
    harness.append("x", "later", delay_s=60)
    claim = harness.claim()
    assert harness.lanes.conclude(claim, settled("sent"), harness.sequence) == (True, None)
    harness.due()
    harness.lanes.sweep("send")
    assert harness.told(harness.claim().body) == "later"

"""Append: once per key, refused when too much waits, with its outcomes in the same step."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.errors import IdempotencyConflictError, OverloadedError
from shared.lanes.client import total_waiting
from shared.lanes.types import Postponed, Settled
from shared.lanes.wire import fingerprint, read_accepted
from shared.redis.client import connect_async
from tests.shared.lanes.harness import Bench, outcome, settled


def test_a_new_event_is_queued_and_told(bench: Bench) -> None:
    answer = bench.lanes.append(bench.item("x", outcomes=(outcome("queued"),)))
    assert (answer.new, answer.state) == (True, "queued")
    assert bench.outbox() == ["queued"]


def test_the_same_request_twice_is_one_event(bench: Bench) -> None:
    """The second answer names the first event, as it stands now; nothing is told twice."""
    event_id = uuid4()
    for new in (True, False):
        answer = bench.lanes.append(
            bench.item("x", "hello", id=event_id, outcomes=(outcome("queued"),))
        )
        assert (answer.id, answer.new, answer.state) == (event_id, new, "queued")
    assert bench.outbox() == ["queued"]
    assert len(list(bench.claims())) == 1


def test_the_same_key_answers_with_what_has_become_of_the_event(bench: Bench) -> None:
    event_id = bench.append("x", "hello")
    claim = bench.claim()
    assert bench.lanes.append(bench.item("x", "hello", id=event_id)).state == "claimed"
    bench.conclude(claim)
    assert bench.lanes.append(bench.item("x", "hello", id=event_id)).state == "sent"
    assert bench.nothing_ready()


def test_the_same_key_for_something_else_is_refused(bench: Bench) -> None:
    event_id = bench.append("x", "hello")
    with pytest.raises(IdempotencyConflictError, match="different request"):
        bench.append("x", "good-bye", id=event_id)
    assert total_waiting(bench.client, ["send"]) == {"send": {"one": 1}}


def test_a_given_fingerprint_tells_what_is_the_same(bench: Bench) -> None:
    """Two different bodies with one fingerprint are one request: the first body counts."""
    event_id = bench.append("x", "first", fingerprint="same")
    assert bench.append("x", "second", id=event_id, fingerprint="same") == event_id
    assert bench.told(bench.claim().body) == "first"


def test_one_key_from_64_threads_at_once_is_one_event(bench: Bench) -> None:
    event_id, together = uuid4(), threading.Barrier(64)

    def append(_: int) -> bool:
        together.wait()
        return bench.lanes.append(
            bench.item("x", "hello", id=event_id, outcomes=(outcome("queued"),))
        ).new

    with ThreadPoolExecutor(64) as threads:
        assert sorted(threads.map(append, range(64)))[-2:] == [False, True]
    assert bench.outbox() == ["queued"]
    assert len(list(bench.claims())) == 1


def test_any_text_arrives_as_it_was_written(bench: Bench) -> None:
    text = 'a "quoted" \\ back\\slash, \u0000, \u2028, Привет, 👩‍👩‍👧, \ud83d\ude00'.encode(
        "utf-16", "surrogatepass"
    ).decode("utf-16")
    bench.append("x", text)
    assert bench.told(bench.claim().body) == text


def test_a_full_outbox_refuses_new_events_and_pauses_claims(redis_client: "redis.Redis") -> None:
    """Claimed events are still concluded, which drains the outbox; known keys are answered."""
    bench = Bench(redis_client, wpp_outbox_limit=3)
    first, _ = bench.append("x"), bench.append("y")
    claim = bench.claim()
    assert bench.lanes.conclude(
        claim, Settled("sent", [outcome(n) for n in range(3)]), bench.sequence
    ) == (True, None)
    assert bench.lanes.claim("send", bench.sequence) is None
    with pytest.raises(OverloadedError, match="waiting to be written"):
        bench.append("z")
    assert bench.lanes.append(bench.item("x", id=first)).state == "sent"
    redis_client.xtrim("wpp:outbox", maxlen=0)
    assert bench.claim().lane == "y"


def test_a_full_outbox_does_not_lose_what_follows(redis_client: "redis.Redis") -> None:
    """A follow-up was accepted with its event: it is never refused."""
    bench = Bench(redis_client, wpp_outbox_limit=2)
    bench.append("x")
    follow = bench.item("watch")
    bench.lanes.conclude(bench.claim(), Settled("done", [outcome(1), outcome(2)], follow=[follow]))
    redis_client.xtrim("wpp:outbox", maxlen=0)
    assert bench.claim().id == follow.id


@contextmanager
def full_memory(client: "redis.Redis") -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def test_a_full_memory_refuses_new_events_and_lets_the_others_end(bench: Bench) -> None:
    """What is accepted goes out, is told, postponed, taken over: only that makes room again."""
    for lane in "abc":
        bench.append(lane)
    with full_memory(bench.client):
        with pytest.raises(OverloadedError):
            bench.append("d")
        with pytest.raises(OverloadedError):
            bench.lanes.replay(bench.item("d"))
        sent, postponed, slow = bench.claims()
        assert bench.conclude(sent, "sent", "sent")
        assert bench.lanes.conclude(postponed, Postponed(60, "not now"))[0]
        assert bench.lanes.extend(slow)
    bench.end("leases:send")
    with full_memory(bench.client):
        [taken] = bench.lanes.sweep("send").expired_claims
        assert bench.conclude(taken, "unknown", "unknown")
        assert bench.lanes.resolve(slow.id, settled("sent", "known"))
    assert bench.outbox() == ["sent", "unknown", "known"]


def test_one_tenant_cannot_fill_redis_for_the_others(redis_client: "redis.Redis") -> None:
    """Past its bound a queue refuses this tenant alone, and no follower of an accepted event."""
    bench = Bench(redis_client, wpp_waiting_limit=2)
    first = bench.append("x")
    bench.append("y")
    with pytest.raises(OverloadedError, match="yours"):
        bench.append("z")
    assert not bench.lanes.append(bench.item("x", id=first)).new
    bench.append("z", tenant="two")
    bench.append("z2", queue="webhook")
    claim = next(claim for claim in bench.claims() if claim.id == first)
    follow = [bench.item("v", queue="webhook"), bench.item("w", queue="webhook")]
    assert bench.lanes.conclude(claim, Settled("sent", follow=follow))[0]
    bench.append("z")


def test_a_finished_event_is_remembered_for_the_record_ttl(redis_client: "redis.Redis") -> None:
    """Its content is dropped at once; an event that is waiting, or unknown, is never forgotten."""
    bench = Bench(redis_client, wpp_record_ttl_s=1000, wpp_max_age_s=900)
    for state in ("sent", "failed", "done", "unknown"):
        bench.append(state)
    waiting = bench.append("waiting")
    for claim, state in zip(bench.claims(), ("sent", "failed", "done", "unknown"), strict=False):
        bench.conclude(claim, state)  # type: ignore[arg-type]
        ends = state != "unknown"
        assert (990 < redis_client.ttl(f"wpp:event:{claim.id}") <= 1000) == ends
        assert redis_client.hexists(f"wpp:event:{claim.id}", "body") != ends
    assert redis_client.ttl(f"wpp:event:{waiting}") == -1


def test_nothing_is_left_behind_when_everything_is_settled(bench: Bench) -> None:
    """Only records, the counter of claims, a sequence per thread and the outbox remain."""
    for number in range(30):
        bench.append(f"lane{number % 7}", tenant=f"tenant{number % 3}", gates=("g",))
    bench.lanes.close_gate("g", 60, "closed")
    assert bench.nothing_ready()
    bench.lanes.open_gate("g")
    postponed = bench.claim()
    bench.lanes.conclude(postponed, Postponed(60, "later"))
    bench.end("delayed:send")
    bench.lanes.sweep("send")
    for claim in bench.claims():
        bench.conclude(claim)
    kept = {key.decode().split(":")[1] for key in bench.client.keys("wpp:*")}
    assert kept == {"event", "fence", "reply", "last_sweep"}


def test_equal_requests_have_equal_fingerprints() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1, "b": [2]}) != fingerprint({"a": 1, "b": [3]})


def test_appends_share_a_round_trip(redis_server: RedisServer, bench: Bench) -> None:
    """Many appends are an atomic step with a reply each."""
    items = [bench.item("x", number) for number in range(3)]
    items.append(replace(items[0], fingerprint="another request"))

    async def append() -> list[Any]:
        client = connect_async(SecretStr(redis_server.url))
        try:
            return await bench.lanes.append_async(client, items)
        finally:
            await client.aclose()

    *replies, last = asyncio.run(append())
    accepted = [read_accepted(item, reply) for item, reply in zip(items, replies, strict=False)]
    assert [each.id for each in accepted] == [item.id for item in items[:3]]
    with pytest.raises(IdempotencyConflictError):
        read_accepted(items[3], last)


def test_a_delayed_event_waits_its_time_also_behind_others(bench: Bench) -> None:
    bench.append("x", "now")
    bench.append("x", "later", delay_s=60)
    claim = bench.claim()
    assert bench.lanes.conclude(claim, settled("sent"), bench.sequence) == (True, None)
    bench.due()
    bench.lanes.sweep("send")
    assert bench.told(bench.claim().body) == "later"

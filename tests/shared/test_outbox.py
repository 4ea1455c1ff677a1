"""The outbox: batches by size or time, nothing lost with a recorder that dies, what is refused set aside."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared import outbox
from shared.outbox import GROUP, Entry, Outbox
from shared.redis import keys
from tests.shared.lanes.harness import Bench, outcome, settled


@pytest.fixture
def recorder(redis_client: "redis.Redis") -> Outbox:
    """Return the outbox as one recorder sees it, which has looked once."""
    found = Outbox(redis_client, "first")
    assert found.read(idle_s=0.01) == []
    return found


@pytest.fixture
def soon_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "ABANDONED_MS", 50)


def put(client: Any, *told: object) -> None:
    for value in told:
        client.xadd(keys.OUTBOX, {"r": json.dumps({"told": value})})


def told(entries: list[Entry]) -> list[object]:
    return [entry.row["told"] for entry in entries]


def pending(client: Any) -> int:
    return int(client.xpending(keys.OUTBOX, GROUP)["pending"])


def test_what_lanes_settle_arrives_as_it_was_told(recorder: Outbox) -> None:
    """The first recorder ever also finds what was put there before it came."""
    bench = Bench(recorder.client)
    bench.append("x")
    bench.conclude(bench.claim(), "sent", "hello")
    [entry] = recorder.read()
    assert entry.row == outcome("hello").model_dump(mode="json", exclude_none=True)


def test_a_full_batch_is_given_at_once(recorder: Outbox) -> None:
    put(recorder.client, *range(7))
    begin = time.monotonic()
    assert told(recorder.read(rows=5, gather_s=30)) == [0, 1, 2, 3, 4]
    assert time.monotonic() - begin < 5


def test_a_batch_gathers_what_comes_shortly_after_its_first(recorder: Outbox) -> None:
    put(recorder.client, "first")
    later = threading.Timer(0.1, put, (recorder.client, "second"))
    later.start()
    assert told(recorder.read(gather_s=0.6)) == ["first", "second"]
    later.join()


def test_gathering_does_not_wait_for_more_than_its_time(recorder: Outbox) -> None:
    put(recorder.client, "only")
    begin = time.monotonic()
    assert told(recorder.read(gather_s=0.1)) == ["only"]
    assert 0.1 <= time.monotonic() - begin < 2


def test_a_batch_is_never_larger_than_asked(recorder: Outbox) -> None:
    put(recorder.client, 1, 2)
    later = threading.Timer(0.05, put, (recorder.client, *range(3, 9)))
    later.start()
    assert told(recorder.read(rows=4, gather_s=0.5)) == [1, 2, 3, 4]
    later.join()


def test_a_waiting_recorder_is_woken_by_the_first_outcome(recorder: Outbox) -> None:
    later = threading.Timer(0.2, put, (recorder.client, "first"))
    begin = time.monotonic()
    later.start()
    assert told(recorder.read(gather_s=0)) == ["first"]
    assert time.monotonic() - begin < 2
    later.join()


def test_an_idle_recorder_outwaits_no_socket(recorder: Outbox) -> None:
    """However long it may wait: redis-py takes silence of 5 s for a dead connection."""
    begin = time.monotonic()
    assert recorder.read(idle_s=60) == []
    assert 2.5 < time.monotonic() - begin < 5


def test_two_recorders_share_the_work(recorder: Outbox) -> None:
    put(recorder.client, *range(10))
    second = Outbox(recorder.client, "second")
    assert told(recorder.read(rows=5)) == [0, 1, 2, 3, 4]
    assert told(second.read(rows=5)) == [5, 6, 7, 8, 9]


def test_what_is_done_is_gone(recorder: Outbox) -> None:
    put(recorder.client, 1, 2, 3)
    entries = recorder.read(gather_s=0)
    recorder.done(entries[:2])
    assert len(recorder) == pending(recorder.client) == 1
    recorder.done(entries[:2])
    recorder.done([])
    assert len(recorder) == 1, "done twice, or nothing done, changes nothing"


@pytest.mark.usefixtures("soon_abandoned")
def test_entries_of_a_recorder_that_died_are_taken_by_another(recorder: Outbox) -> None:
    """Before new ones, and in their order; its own, too, if it could not say that they were done."""
    put(recorder.client, 1, 2)
    assert told(recorder.read(gather_s=0)) == [1, 2]
    put(recorder.client, 3)
    second = Outbox(recorder.client, "second")
    assert told(second.read(rows=1, gather_s=0)) == [3], "nothing is abandoned yet"
    time.sleep(0.06)
    assert told(second.read(gather_s=0)) == [1, 2, 3]
    time.sleep(0.06)
    assert told(recorder.read(gather_s=0)) == [1, 2, 3]


@pytest.mark.usefixtures("soon_abandoned")
def test_abandoned_entries_come_by_themselves(recorder: Outbox) -> None:
    """Perhaps they were left because they take long: new ones don't wait for them."""
    put(recorder.client, 1)
    recorder.read(gather_s=0)
    time.sleep(0.06)
    put(recorder.client, 2)
    second = Outbox(recorder.client, "second")
    assert told(second.read(gather_s=0.01)) == [1]
    assert told(second.read(gather_s=0.01)) == [2]


@pytest.mark.usefixtures("soon_abandoned")
def test_an_abandoned_entry_that_somebody_deleted_is_no_trouble(recorder: Outbox) -> None:
    put(recorder.client, 1, 2)
    first, _ = recorder.read(gather_s=0)
    recorder.client.xdel(keys.OUTBOX, first.id)
    time.sleep(0.06)
    assert told(Outbox(recorder.client, "second").read(gather_s=0)) == [2]


def test_a_lost_group_is_made_again_and_nothing_is_skipped(recorder: Outbox) -> None:
    """Also what was read and not done: the new group begins at the beginning."""
    put(recorder.client, 1, 2)
    recorder.read(rows=1)
    recorder.client.xgroup_destroy(keys.OUTBOX, GROUP)
    assert recorder.read(gather_s=0) == []
    assert told(recorder.read(gather_s=0)) == [1, 2]


def test_two_recorders_may_make_the_group_at_once(redis_client: "redis.Redis") -> None:
    put(redis_client, *range(20))
    recorders = [Outbox(redis_client, f"recorder {number}") for number in range(4)]
    together = threading.Barrier(4)
    seen: list[object] = []

    def work(recorder: Outbox) -> None:
        together.wait()
        for _ in range(8):
            seen.extend(told(recorder.read(rows=3, idle_s=0.01, gather_s=0)))

    threads = [threading.Thread(target=work, args=(recorder,)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, seen)) == sorted(map(str, range(20)))


def test_a_trouble_is_told_for_a_while(recorder: Outbox) -> None:
    """Whoever looks at the outbox learns why it grows."""
    assert recorder.trouble is None
    recorder.complain("a column was renamed")
    assert recorder.trouble == "a column was renamed"
    assert 0 < recorder.client.ttl(keys.OUTBOX_BLOCKED) <= outbox.TROUBLE_S


def consumers(recorder: Outbox) -> list[str]:
    found: Any = recorder.client.xinfo_consumers(keys.OUTBOX, GROUP)
    return sorted(each["name"].decode() for each in found)


def test_recorders_that_are_gone_are_forgotten(
    recorder: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start makes a name; one that still holds something, or was heard of lately, stays."""
    put(recorder.client, 1, 2)
    Outbox(recorder.client, "gone").read(idle_s=0.01)
    holder = Outbox(recorder.client, "holder")
    for name in ("gone", "idle"):
        recorder.client.xgroup_createconsumer(keys.OUTBOX, GROUP, name)
    recorder.client.xautoclaim(keys.OUTBOX, GROUP, "holder", 0)
    assert recorder.forget_idle() == 0
    monkeypatch.setattr(outbox, "IDLE_MS", 50)
    time.sleep(0.06)
    put(recorder.client, 3)
    recorder.done(recorder.read(gather_s=0))
    assert recorder.forget_idle() == 2
    assert consumers(recorder) == ["first", "holder"]
    assert pending(recorder.client) == 2
    assert told(holder.read(gather_s=0)) == []


def test_where_no_recorder_was_yet_none_is_forgotten(redis_client: "redis.Redis") -> None:
    assert Outbox(redis_client, "first").forget_idle() == 0
    redis_client.xadd(keys.OUTBOX, {"r": "{}"})
    assert Outbox(redis_client, "first").forget_idle() == 0


def test_the_age_of_the_oldest_outcome_is_known(recorder: Outbox) -> None:
    assert recorder.age_s() is None
    put(recorder.client, 1)
    time.sleep(0.05)
    put(recorder.client, 2)
    assert 0.04 < (recorder.age_s() or 0) < 5


@pytest.fixture
def listener(redis_client: "redis.Redis") -> Iterator[Any]:
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.psubscribe(keys.changes("*"))
        pubsub.get_message(timeout=1)
        yield pubsub


def heard(listener: Any) -> dict[str, Any]:
    messages = iter(lambda: listener.get_message(timeout=0.3), None)
    return {message["channel"].decode(): json.loads(message["data"]) for message in messages}


def test_pages_hear_of_their_own_organization_only(recorder: Outbox, listener: Any) -> None:
    """One message an organization, with all of its changes."""
    changes = [
        {"organization_id": name, "id": number} for number, name in enumerate(["a", "b", "a"])
    ]
    recorder.announce(changes)
    assert heard(listener) == {
        keys.changes("a"): [changes[0], changes[2]],
        keys.changes("b"): [changes[1]],
    }


def test_nothing_changed_is_nothing_announced(recorder: Outbox, listener: Any) -> None:
    recorder.announce([])
    assert heard(listener) == {}


def test_other_errors_of_redis_are_not_hidden(redis_client: "redis.Redis") -> None:
    redis_client.set(keys.OUTBOX, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        Outbox(redis_client, "first").read(idle_s=0.01)


def test_settling_and_telling_are_one_step(recorder: Outbox) -> None:
    """Whatever counts is in the outbox at once, whatever does not is never told."""
    bench = Bench(recorder.client)
    bench.append("x")
    claim = bench.claim()
    for state in ("sent", "failed"):
        bench.lanes.conclude(claim, settled(state, state))
    assert [entry.row["reason"] for entry in recorder.read(gather_s=0)] == ["sent"]

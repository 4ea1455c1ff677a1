"""The outbox delivers each outcome to a single recorder, in batches, at least once."""

import json
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from shared.lanes.types import Settled
from shared.outbox import BLOCKED_TTL_S, Outbox, OutboxEntry, count_left
from shared.redis import keys
from tests.fixtures.waiting import shortest_s, wait_until
from tests.shared.lanes.harness import LaneHarness, outcome, settled

QUICK_MS = 50
"""A time after which entries count as abandoned, so short that tests can wait for it."""


@pytest.fixture
def recorder(redis_client: "redis.Redis") -> Outbox:
    return Outbox(redis_client)


def add(client: Any, *values: object, tenant: str = "A") -> None:
    Outbox(client).add_rows([{"value": value, "account": tenant} for value in values])


def values(entries: list[OutboxEntry]) -> list[object]:
    return [entry.row["value"] for entry in entries]


def count_taken(client: Any) -> int:
    return int(client.zcard(keys.OUTBOX_TAKEN))


def test_an_outcome_of_a_settled_event_arrives_unchanged(recorder: Outbox) -> None:
    harness = LaneHarness(recorder.client)
    harness.append("x")
    harness.conclude(harness.claim(), "sent", "hello")
    [entry] = recorder.read()
    assert entry.row == outcome("hello").model_dump(mode="json", exclude_none=True)


def test_a_full_batch_is_returned_at_once(recorder: Outbox) -> None:
    """The time for gathering is not spent when the batch is full."""
    add(recorder.client, *range(7))
    begin = time.monotonic()
    assert values(recorder.read(rows=5, gather_s=30)) == [0, 1, 2, 3, 4]
    assert time.monotonic() - begin < 5


def add_meanwhile(patch: pytest.MonkeyPatch, recorder: Outbox, *values: object) -> list[float]:
    """Let outcomes arrive while `recorder` gathers; return for how long it does each time."""
    gathered_s: list[float] = []

    def sleep(seconds: float) -> None:
        gathered_s.append(seconds)
        add(recorder.client, *values)

    patch.setattr("shared.outbox.time", SimpleNamespace(sleep=sleep))
    return gathered_s


def test_a_batch_gathers_what_arrives_soon_after_the_first(
    recorder: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two outcomes within `gather_s` are a single batch."""
    add(recorder.client, "first")
    gathered_s = add_meanwhile(monkeypatch, recorder, "second")
    assert values(recorder.read(gather_s=0.6)) == ["first", "second"]
    assert gathered_s == [0.6]


def test_gathering_ends_after_its_time(recorder: Outbox) -> None:
    """A batch of a single entry is returned when nothing else arrives."""

    def read() -> None:
        add(recorder.client, "only")
        assert values(recorder.read(gather_s=0.1)) == ["only"]

    assert 0.1 <= shortest_s(read, 2) < 2


def test_a_batch_is_never_larger_than_requested(
    recorder: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that arrive while it gathers count as well."""
    add(recorder.client, 1, 2)
    add_meanwhile(monkeypatch, recorder, *range(3, 9))
    assert values(recorder.read(rows=4, gather_s=0.5)) == [1, 2, 3, 4]


def test_an_event_with_thousands_of_outcomes_enters_the_outbox_whole(recorder: Outbox) -> None:
    """A history of old messages comes as a single webhook; all of it takes a single turn."""
    harness = LaneHarness(recorder.client)
    harness.append("x")
    harness.lanes.conclude(harness.claim(), Settled("done", [outcome(n) for n in range(9000)]))
    assert recorder.client.lrange(keys.OUTBOX_TURNS, 0, -1) == [b"one"]
    entries = recorder.read(rows=400, gather_s=0)
    assert [entry.row["reason"] for entry in entries] == [str(n) for n in range(400)]
    assert recorder.client.llen("wpp:outbox:ids:one") == 9000 - 400


def test_a_batch_costs_redis_little_more_than_its_rows(recorder: Outbox) -> None:
    """Each row is read by itself; all else is done for a whole batch, or for a tenant's turn."""
    for tenant in "ABCDE":
        add(recorder.client, *range(40), tenant=tenant)
    recorder.client.config_resetstat()
    assert len(recorder.read(gather_s=0)) == 200
    commands: Any = recorder.client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in commands.items()}
    assert calls["xrange"] == 200
    assert sum(calls.values()) < 200 + 10 * 6, calls


def test_a_batch_of_all_that_waits_leaves_no_token(recorder: Outbox) -> None:
    """Another recorder, or the next read, would wake for what was taken."""
    for tenant in "ABC":
        add(recorder.client, *range(3), tenant=tenant)
    assert len(recorder.read(rows=4)) == 4
    assert recorder.client.exists(keys.OUTBOX_BELL)
    assert len(recorder.read(gather_s=0)) == 5
    assert not recorder.client.exists(keys.OUTBOX_BELL)
    add(recorder.client, "next")
    assert values(recorder.read(gather_s=0)) == ["next"]


def test_a_recorder_that_took_all_waits_for_the_bell_first(recorder: Outbox) -> None:
    """It looks once more when nothing rings: for the entries of a dead recorder."""
    add(recorder.client, 1)
    assert values(recorder.read(gather_s=0)) == [1]
    later = threading.Timer(0.2, add, (recorder.client, 2))
    later.start()
    recorder.client.config_resetstat()
    assert values(recorder.read(gather_s=0)) == [2]
    later.join()
    commands: Any = recorder.client.info("commandstats")
    assert commands["cmdstat_blpop"]["calls"] == 1
    recorder.abandoned_ms = QUICK_MS
    time.sleep(2 * QUICK_MS / 1000)
    assert values(recorder.read(idle_s=0.01)) == [1, 2]


def test_a_blocked_read_returns_with_the_first_outcome(recorder: Outbox) -> None:
    """A waiting recorder does not poll."""

    def read() -> None:
        later = threading.Timer(0.2, add, (recorder.client, "first"))
        later.start()
        assert values(recorder.read(gather_s=0)) == ["first"]
        later.join()

    assert shortest_s(read, 2) < 2


def test_a_blocked_read_ends_before_the_socket_timeout(recorder: Outbox) -> None:
    """redis-py takes 5 s of silence for a dead connection, even with a long `idle_s`."""

    def read() -> None:
        assert recorder.read(idle_s=60) == []

    assert 2.5 < shortest_s(read, 5) < 5


def test_two_recorders_share_the_entries(recorder: Outbox) -> None:
    """No entry is delivered to both."""
    add(recorder.client, *range(10))
    second = Outbox(recorder.client)
    assert values(recorder.read(rows=5)) == [0, 1, 2, 3, 4]
    assert values(second.read(rows=5)) == [5, 6, 7, 8, 9]


def test_acknowledged_entries_are_deleted(recorder: Outbox) -> None:
    """Acknowledging twice, or acknowledging nothing, has no effect."""
    add(recorder.client, 1, 2, 3)
    entries = recorder.read(gather_s=0)
    recorder.acknowledge(entries[:2])
    assert len(recorder) == count_taken(recorder.client) == 1
    recorder.acknowledge(entries[:2])
    recorder.acknowledge([])
    assert len(recorder) == 1


def test_entries_of_a_dead_recorder_go_to_another(recorder: Outbox) -> None:
    """They come before new entries and in order; a recorder also gets its own entries again."""
    add(recorder.client, 1, 2)
    assert values(recorder.read(gather_s=0)) == [1, 2]
    add(recorder.client, 3)
    second = Outbox(recorder.client)
    assert values(second.read(rows=1, gather_s=0)) == [3], "nothing is abandoned yet"
    for outbox in (second, recorder):
        outbox.abandoned_ms = QUICK_MS
        time.sleep(QUICK_MS / 1000 + 0.01)
        assert values(outbox.read(gather_s=0)) == [1, 2, 3]


def test_abandoned_entries_are_a_batch_of_their_own(recorder: Outbox) -> None:
    """They may take long to apply, and new entries do not wait for them."""
    add(recorder.client, 1)
    recorder.read(gather_s=0)
    time.sleep(QUICK_MS / 1000 + 0.01)
    add(recorder.client, 2)
    second = Outbox(recorder.client, abandoned_ms=QUICK_MS)
    assert values(second.read(gather_s=0.01)) == [1]
    second.abandoned_ms = 60_000
    assert values(second.read(gather_s=0.01)) == [2]


def test_an_abandoned_entry_that_was_deleted_is_skipped(recorder: Outbox) -> None:
    """Its recorder acknowledged it late."""
    add(recorder.client, 1, 2)
    first, _ = recorder.read(gather_s=0)
    recorder.client.xdel(keys.OUTBOX, first.id)
    second = Outbox(recorder.client, abandoned_ms=0)
    assert values(second.read(gather_s=0)) == [2]
    assert count_taken(recorder.client) == 1


def test_recorders_that_start_together_take_each_entry_once(redis_client: "redis.Redis") -> None:
    add(redis_client, *range(20))
    recorders = [Outbox(redis_client) for _ in range(4)]
    together = threading.Barrier(4)
    seen: list[object] = []

    def work(outbox: Outbox) -> None:
        together.wait()
        for _ in range(8):
            seen.extend(values(outbox.read(rows=3, idle_s=0.01, gather_s=0)))

    threads = [threading.Thread(target=work, args=(outbox,)) for outbox in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, seen)) == sorted(map(str, range(20)))


def test_a_tenants_backlog_delays_no_other_tenant(recorder: Outbox) -> None:
    """Each has its turn in every batch; a tenant that is alone fills it."""
    add(recorder.client, *range(100), tenant="busy")
    for tenant in ("B", "C"):
        add(recorder.client, tenant, tenant=tenant)
    assert values(recorder.read(rows=50)) == [*range(20), "B", "C", *range(20, 48)]
    add(recorder.client, "B", tenant="B")
    assert values(recorder.read(rows=50)) == [*range(48, 68), "B", *range(68, 97)]
    assert values(recorder.read(rows=50, gather_s=0)) == [97, 98, 99]


def test_an_event_s_outcomes_are_taken_in_the_turn_of_its_tenant(recorder: Outbox) -> None:
    harness = LaneHarness(recorder.client)
    for number in range(30):
        harness.append(f"busy {number}", tenant="busy", outcomes=(outcome("busy"),))
    harness.append("calm", tenant="calm", outcomes=(outcome("calm"),))
    batch = [entry.row["reason"] for entry in recorder.read(rows=25)]
    assert batch == [*["busy"] * 20, "calm", *["busy"] * 4]


def test_a_batch_is_bounded_in_bytes(recorder: Outbox) -> None:
    """What does not fit in is the next batch's; a longer entry is a batch of its own."""
    add(recorder.client, "a" * 400, "b" * 400, "c" * 5000, "d" * 10)
    batches = [values(recorder.read(max_bytes=1000, gather_s=0.01)) for _ in range(3)]
    assert [[len(str(value)) for value in batch] for batch in batches] == [[400, 400], [5000], [10]]


def test_long_outcomes_of_a_tenant_delay_no_other(recorder: Outbox) -> None:
    """They leave the room that they cannot fill, and do not take every batch for themselves."""
    add(recorder.client, *["x" * 600] * 6, tenant="long")
    for number in range(3):
        add(recorder.client, number, tenant="B")
        batch = values(recorder.read(max_bytes=1000, gather_s=0))
        assert number in batch
        assert len(batch) == 2
    add(recorder.client, "y" * 900, tenant="longest")
    batches = [values(recorder.read(max_bytes=1000, gather_s=0)) for _ in range(2)]
    assert ["y" * 900] in batches


def test_gathering_keeps_to_the_bytes_of_the_batch(
    recorder: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(recorder.client, "a" * 600)
    add_meanwhile(monkeypatch, recorder, "b" * 600)
    assert len(recorder.read(max_bytes=1000, gather_s=0.3)) == 1
    assert len(recorder.read(max_bytes=1000, gather_s=0)) == 1


def test_entries_of_no_list_are_taken_as_well(recorder: Outbox) -> None:
    """An older version appended them to the stream alone."""
    for number in range(3):
        recorder.client.xadd(keys.OUTBOX, {"r": json.dumps({"value": number})})
    assert values(recorder.read(rows=2, gather_s=0, idle_s=0.01)) == [0, 1]
    assert values(recorder.read(gather_s=0, idle_s=0.01)) == [2]
    assert recorder.read(gather_s=0, idle_s=0.01) == []


def test_nothing_remains_of_recorded_outcomes(recorder: Outbox) -> None:
    """The keys of a tenant go with its last outcome."""
    add(recorder.client, 1, tenant="A")
    add(recorder.client, 2, tenant="B")
    recorder.acknowledge(recorder.read(gather_s=0))
    left = {key.decode() for key in recorder.client.scan_iter(f"{keys.OUTBOX}*")}
    assert left == {keys.OUTBOX}


def test_the_reason_of_an_outage_is_published_for_a_while(recorder: Outbox) -> None:
    """`wpp lanes` and the metrics show why the outbox grows."""
    assert recorder.blocked_reason is None
    recorder.report_blocked("a column was renamed")
    assert recorder.blocked_reason == "a column was renamed"
    assert 0 < recorder.client.ttl(keys.OUTBOX_BLOCKED) <= BLOCKED_TTL_S


def test_the_age_is_that_of_the_oldest_outcome(recorder: Outbox) -> None:
    """An empty outbox has no age."""
    assert recorder.age_s() is None
    add(recorder.client, 1)
    time.sleep(0.05)
    add(recorder.client, 2)
    assert 0.04 < (recorder.age_s() or 0) < 5


@pytest.fixture
def listener(redis_client: "redis.Redis") -> Iterator[Any]:
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.psubscribe(keys.changes("*"))
        pubsub.get_message(timeout=20)
        yield pubsub


def test_an_entry_has_passed_once_it_and_all_before_it_are_acknowledged(recorder: Outbox) -> None:
    """Whoever reads Supabase then sees what was in the outbox before."""
    assert recorder.newest_id() == b"0-0"
    assert recorder.has_passed(recorder.newest_id())
    add(recorder.client, 1, 2)
    newest = recorder.newest_id()
    first, second = recorder.read(gather_s=0)
    recorder.acknowledge([second])
    add(recorder.client, 3)
    assert not recorder.has_passed(newest)
    recorder.acknowledge([first])
    assert recorder.has_passed(newest)
    assert not recorder.has_passed(recorder.newest_id())


def read_messages(recorder: Outbox, listener: Any) -> dict[str, Any]:
    """Return what has been published so far: a last message comes after it."""
    recorder.publish_changes([{"organization_id": "the last"}])
    found: dict[str, Any] = {}
    while keys.changes("the last") not in found:
        message = wait_until(lambda: listener.get_message(timeout=1), "the last message")
        channel = message["channel"].decode()
        assert channel not in found
        found[channel] = json.loads(message["data"])
    found.pop(keys.changes("the last"))
    return found


def test_changes_are_published_to_their_own_organization(recorder: Outbox, listener: Any) -> None:
    """Each organization gets a single message with all of its changes."""
    changes = [
        {"organization_id": name, "id": number} for number, name in enumerate(["a", "b", "a"])
    ]
    recorder.publish_changes(changes)
    assert read_messages(recorder, listener) == {
        keys.changes("a"): [changes[0], changes[2]],
        keys.changes("b"): [changes[1]],
    }


def test_no_changes_are_no_message(recorder: Outbox, listener: Any) -> None:
    """An empty batch publishes nothing."""
    recorder.publish_changes([])
    assert read_messages(recorder, listener) == {}


def test_unexpected_errors_of_redis_are_raised(redis_client: "redis.Redis") -> None:
    redis_client.set(keys.OUTBOX, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        Outbox(redis_client).read(idle_s=0.01)


def test_settling_an_event_adds_its_outcomes_in_the_same_step(recorder: Outbox) -> None:
    """A second conclusion of the same claim is rejected, and its outcome is not added."""
    harness = LaneHarness(recorder.client)
    harness.append("x")
    claim = harness.claim()
    for state in ("sent", "failed"):
        harness.lanes.conclude(claim, settled(state, state))
    assert [entry.row["reason"] for entry in recorder.read(gather_s=0)] == ["sent"]


def test_outcomes_of_a_newer_version_wait_apart(recorder: Outbox) -> None:
    """They are read again by who knows them, in their tenant's turn."""
    recorder.add_rows([{"value": 1, "account": "A", "v": 2}, {"value": 2, "account": "A"}])
    newer, known = recorder.read(gather_s=0)
    recorder.leave(newer)
    recorder.acknowledge([known])
    assert recorder.left == 1
    assert count_left(recorder.client)["outcome"] == 1
    assert recorder.read(idle_s=0.01) == []
    assert recorder.return_left(1) == 0
    assert recorder.return_left(2) == 1
    [again] = recorder.read(gather_s=0)
    assert (again.id, again.version, recorder.left) == (newer.id, 2, 0)
    recorder.acknowledge([again])
    assert len(recorder) == 0


def test_a_version_that_is_no_number_is_the_first() -> None:
    assert OutboxEntry(b"1-0", {"v": "two"}).version == 1

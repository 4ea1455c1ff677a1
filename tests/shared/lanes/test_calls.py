"""Threads that found nothing ready and stay: each ready lane calls one of them, or wants a wake-up."""

import time
from threading import Timer

import redis

from shared.lanes.client import Slot
from tests.shared.lanes.harness import Bench, settled


def wanted(bench: Bench) -> int:
    """Return how many wake-ups are wanted."""
    return int(bench.client.get("wpp:wanted:send") or 0)


def staying(bench: Bench, count: int, stay_s: float = 60) -> list[Slot]:
    slots = [Slot() for _ in range(count)]
    assert not any(bench.lanes.claim("send", slot, stay_s) for slot in slots)
    return slots


def called(bench: Bench, slots: list[Slot]) -> int:
    return sum(bench.client.llen(f"wpp:call:{slot.name}") for slot in slots)


def test_each_ready_lane_calls_another_thread_and_then_wants_wake_ups(bench: Bench) -> None:
    slots = staying(bench, 2)
    for lane in ("a", "b", "c", "d"):
        bench.append(lane)
    assert [bench.client.llen(f"wpp:call:{slot.name}") for slot in slots] == [1, 1]
    assert wanted(bench) == 2


def test_what_stands_behind_others_or_is_not_due_calls_nobody(bench: Bench) -> None:
    bench.append("a")
    bench.claim()
    slots = staying(bench, 1)
    bench.append("a")
    bench.append("b", delay_s=60)
    assert (called(bench, slots), wanted(bench)) == (0, 0)


def test_a_thread_blocks_until_it_is_called(bench: Bench) -> None:
    """Within the time that it stays; then the event is there for it to claim."""
    [slot] = staying(bench, 1)
    later = Timer(0.1, bench.append, ["a"])
    later.start()
    assert bench.lanes.called(slot, 5)
    later.join()
    assert bench.lanes.claim("send", slot)


def test_a_thread_whose_time_is_over_is_not_called(bench: Bench) -> None:
    [slot] = staying(bench, 1, stay_s=0.01)
    assert not bench.lanes.called(slot, 0.01)
    bench.append("a")
    assert (called(bench, [slot]), wanted(bench)) == (0, 1)


def test_one_that_stays_longer_is_called_first(bench: Bench) -> None:
    """Whoever's time is over is passed by, however many stay."""
    [ended] = staying(bench, 1, stay_s=0.01)
    [stays] = staying(bench, 1)
    time.sleep(0.02)
    bench.append("a")
    bench.append("b")
    assert (called(bench, [stays]), called(bench, [ended]), wanted(bench)) == (1, 0, 1)


def test_once_nothing_is_ready_no_wake_up_is_wanted(bench: Bench) -> None:
    """Whoever comes for a lane that another thread has taken meanwhile comes for nothing."""
    bench.append("a")
    bench.append("b")
    assert wanted(bench) == 2
    for claim in bench.claims():
        bench.conclude(claim)
    assert wanted(bench) == 0


def test_a_thread_stays_after_its_last_conclusion_too(bench: Bench) -> None:
    bench.append("a")
    slot = Slot()
    claim = bench.claim(slot=slot)
    assert bench.lanes.conclude(claim, settled("sent"), slot, stay_s=60) == (True, None)
    bench.append("b")
    assert called(bench, [slot]) == 1


def test_a_lane_that_falls_due_calls_a_thread_too(bench: Bench) -> None:
    """Or all that are awake would stay for what is new, while what is due waits for one of them to go to sleep."""
    bench.append("a", delay_s=60)
    slots = staying(bench, 1)
    bench.due()
    bench.lanes.sweep("send")
    assert (called(bench, slots), wanted(bench)) == (1, 0)


def test_a_gate_that_opens_calls_a_thread_for_each_lane_and_wants_wake_ups(bench: Bench) -> None:
    bench.lanes.close_gate("g", 60, "closed")
    for lane in ("a", "b"):
        bench.append(lane, gates=("g",))
    slots = staying(bench, 1)
    bench.lanes.open_gate("g")
    assert (called(bench, slots), wanted(bench)) == (1, 1)


def test_a_sweep_says_how_many_could_work(redis_client: "redis.Redis") -> None:
    """After an outage all of one tenant's lanes are due at once: as many threads as it may have come for them."""
    bench = Bench(redis_client, wpp_max_inflight_per_tenant=4)
    for number in range(10):
        bench.append(f"a{number}", tenant="a")
    for number in range(2):
        bench.append(f"b{number}", tenant="b")
    assert bench.lanes.sweep("send").ready == 4 + 2
    claims = [bench.claim() for _ in range(3)]
    assert sorted(claim.lane[0] for claim in claims) == ["a", "a", "b"]
    assert bench.lanes.sweep("send").ready == 2 + 1
    for claim in [*claims, *bench.claims()]:
        bench.conclude(claim)


def test_what_nobody_came_for_is_found_by_a_sweep(redis_client: "redis.Redis") -> None:
    """A thread was killed while it stayed: its lane is still ready, and counted as such."""
    bench = Bench(redis_client)
    staying(bench, 1)
    bench.append("a")
    assert bench.lanes.sweep("send").ready == 1
    bench.claim()

"""The model of a fleet of send processes."""

import math

import pytest

from bench.scale_load.model import Costs, Fleet, find_bottleneck, predict_rate, predict_wait_s

CHEAP = Costs(send_s=0.002, redis_s=0.0005, beside_s=0.0005, held_s=0.01)


def make_fleet(processes: int = 1, cores: float = 4, answer_s: float = 0.5) -> Fleet:
    return Fleet(processes, 32, cores, answer_s)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_slow_platform_lets_threads_be_the_limit(processes: int) -> None:
    fleet = make_fleet(processes)
    assert find_bottleneck(fleet, CHEAP) == "threads"
    assert predict_rate(fleet, CHEAP) == pytest.approx(processes * 32 / 0.51)


def test_a_fast_platform_lets_the_send_process_be_the_limit() -> None:
    """A process cannot use more than a core."""
    fleet = make_fleet(answer_s=0.01)
    assert find_bottleneck(fleet, CHEAP) == "send processes"
    assert predict_rate(fleet, CHEAP) == pytest.approx(450)


def test_many_processes_meet_the_cores_and_then_redis() -> None:
    assert find_bottleneck(make_fleet(64, cores=4), CHEAP) == "cores"
    assert find_bottleneck(make_fleet(64, cores=64), CHEAP) == "Redis"


def test_hardly_a_message_waits_for_a_thread_while_most_are_free() -> None:
    assert predict_wait_s(make_fleet(), CHEAP, per_s=20, share=0.99) == 0


def test_waits_grow_with_the_load_and_without_end_beyond_it() -> None:
    nearly, full = (predict_wait_s(make_fleet(), CHEAP, each, 0.99) for each in (58, 61))
    assert 0 < nearly < full < 2
    assert predict_wait_s(make_fleet(), CHEAP, per_s=63, share=0.99) == math.inf


def test_the_share_that_waits_is_that_of_a_single_server() -> None:
    """With a single thread the share that has to wait is the load itself."""
    fleet = Fleet(1, 1, 1, 0.99)
    assert predict_wait_s(fleet, CHEAP, per_s=0.5, share=0.5) == 0
    assert predict_wait_s(fleet, CHEAP, per_s=0.5, share=0.6) > 0

"""A role without a process that moves is named, whether it is missing, silent or stuck."""

from dataclasses import replace

import pytest
import redis

from shared import processes
from shared.processes import RunningProcess

NOW_MS = 1_000_000
SEND = RunningProcess(("send",), "a", 1, 8, 0, NOW_MS, NOW_MS)


@pytest.mark.parametrize(
    ("reports", "fault"),
    [
        ([], "send: no process runs"),
        ([replace(SEND, at_ms=NOW_MS - 21_000)], "send: no process runs"),
        ([replace(SEND, roles=("media",))], "send: no process runs"),
        ([replace(SEND, progress_ms=NOW_MS - 26_000)], "send: a:1 made no progress for 26 s"),
        ([replace(SEND, progress_ms=NOW_MS - 26_000), SEND], None),
        ([replace(SEND, at_ms=NOW_MS - 15_000)], None),
    ],
    ids=["none", "silent", "another role", "stuck", "one of two is stuck", "between reports"],
)
def test_a_role_that_no_process_fills(reports: list[RunningProcess], fault: str | None) -> None:
    found = processes.describe_faults(reports, NOW_MS, ["send"])
    assert found == ([fault] if fault else [])


def test_the_processes_of_one_machine() -> None:
    """A liveness check looks at its own container."""
    assert processes.describe_faults([SEND], NOW_MS, ["send"], "a") == []
    assert processes.describe_faults([SEND], NOW_MS, ["send"], "b") == ["send: no process runs"]


def test_a_stuck_process_beside_one_that_moves() -> None:
    """Its own container is restarted; the pipeline as a whole goes on."""
    reports = [replace(SEND, progress_ms=NOW_MS - 26_000), replace(SEND, pid=2)]
    assert processes.describe_faults(reports, NOW_MS, ["send"]) == []
    assert processes.describe_faults(reports, NOW_MS, ["send"], "a") == [
        "send: a:1 made no progress for 26 s"
    ]


def test_a_beat_has_the_time_of_redis(redis_client: redis.Redis) -> None:
    """The first is its start; a process that stands still keeps the time of its last progress."""
    first = processes.beat(redis_client, replace(SEND, started_ms=0, progress_ms=0), moved=True)
    assert first.started_ms == first.progress_ms == first.at_ms
    assert abs(first.at_ms - processes.now_ms(redis_client)) < 60_000
    still = processes.beat(redis_client, replace(first, progress_ms=1), moved=False)
    assert (still.started_ms, still.progress_ms) == (first.started_ms, 1)
    assert processes.list_processes(redis_client, still.at_ms) == [replace(still, roles=["send"])]


def test_reports_are_kept_for_an_hour(redis_client: redis.Redis) -> None:
    at_ms = processes.now_ms(redis_client)
    for age_s, pid in ((0, 1), (600, 2), (4000, 3)):
        processes.report(redis_client, replace(SEND, pid=pid, at_ms=at_ms - age_s * 1000))
    assert {each.pid for each in processes.list_processes(redis_client, at_ms)} == {1, 2}
    processes.forget(redis_client, "a:1")
    assert {each.pid for each in processes.list_processes(redis_client, at_ms)} == {2}

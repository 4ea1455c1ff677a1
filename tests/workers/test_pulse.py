"""A process reports that it runs and whether it moves, and hands over what it counted."""

import threading
import time

import pytest
import redis

from shared import activity, metrics, processes, tail, transitions
from shared.redis import keys
from shared.redis.failover import FAILOVERS
from tests.fixtures.waiting import wait_until
from workers.pulse import REPORT_EVERY_S, Pulse


def reports(client: redis.Redis) -> list[processes.RunningProcess]:
    return processes.list_processes(client, processes.now_ms(client))


def test_a_process_is_known_while_it_runs(redis_client: redis.Redis) -> None:
    """What it counted in its last seconds is not lost."""
    metrics.flush(redis_client)
    before = dict(metrics.read(redis_client))["wpp_messages_sent_total"].get("", 0)
    with Pulse(redis_client, ["send", "media"], threads=8):
        (found,) = wait_until(lambda: reports(redis_client), "the report")
        assert (found.roles, found.threads) == (["send", "media"], 8)
        transitions.tell("message.sent", event_id="1")
    assert reports(redis_client) == []
    assert dict(metrics.read(redis_client))["wpp_messages_sent_total"][""] == before + 1


def test_a_process_that_stands_still_reports_since_when(redis_client: redis.Redis) -> None:
    progress = [0]
    pulse = Pulse(redis_client, ["record"], progress=lambda: progress[0])
    pulse.report()
    (first,) = reports(redis_client)
    pulse.report()
    (still,) = reports(redis_client)
    assert still.progress_ms == first.progress_ms
    assert still.at_ms >= first.at_ms
    progress[0] += 1
    pulse.report()
    (moved,) = reports(redis_client)
    assert moved.progress_ms == moved.at_ms


def test_a_web_process_cannot_stand_still(redis_client: redis.Redis) -> None:
    pulse = Pulse(redis_client, ["web"])
    pulse.report()
    pulse.report()
    (found,) = reports(redis_client)
    assert found.progress_ms == found.at_ms


def test_what_happens_is_published_at_once(redis_client: redis.Redis) -> None:
    """Long before the next report; again and again, and in order."""
    told: list[str] = []

    def hear() -> None:
        for line in tail.watch(redis_client, 0.1):
            if line:
                told.append(line["event_id"])
            if len(told) == 3:
                return

    watcher = threading.Thread(target=hear)
    watcher.start()
    wait_until(lambda: redis_client.pubsub_numsub(keys.TAIL)[0][1], "a watcher")
    with Pulse(redis_client, ["send"]):
        wait_until(lambda: reports(redis_client), "the first report")
        began_s = time.monotonic()
        for event_id in ("1", "2"):
            transitions.tell("message.sent", event_id=event_id)
        wait_until(lambda: told == ["1", "2"], "both")
        transitions.tell("message.sent", event_id="3")
        watcher.join(10)
        assert time.monotonic() - began_s < REPORT_EVERY_S - 1
    assert told == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("The previous master is now a slave", "SWITCHED"),
        ("0 of 1 replicas have confirmed a write within 1 s", "NOT_REPLICATED"),
    ],
)
def test_replaced_connections_are_counted(
    redis_client: redis.Redis, reason: str, cause: str
) -> None:
    """Each process counts those that it had, by cause."""

    def counted() -> float:
        return dict(metrics.read(redis_client))["wpp_redis_reconnects_total"].get(cause, 0)

    metrics.flush(redis_client)
    before = counted()
    with Pulse(redis_client, ["web"]):
        FAILOVERS.notice(reason)
    assert counted() == before + 1
    assert FAILOVERS.listeners == []


def test_what_organizations_did_is_handed_over_by_the_minute(redis_client: redis.Redis) -> None:
    activity.flush(redis_client, 0)
    before = processes.now_ms(redis_client)
    with Pulse(redis_client, ["send"]):
        transitions.tell("message.sent", event_id="1", organization_id="mine")
    ends = {at // activity.MINUTE_MS for at in (before, processes.now_ms(redis_client))}
    found = [
        activity.read_counts(redis_client, (minute + 1) * activity.MINUTE_MS) for minute in ends
    ]
    assert sum(each["mine"].sent for each in found if "mine" in each) == 1

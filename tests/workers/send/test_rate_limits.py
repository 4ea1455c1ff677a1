"""The rate of a number that the platform limits; tests skip time by moving the stored times."""

from uuid import UUID, uuid4

import pytest
import redis

from shared.errors import LimitedError
from shared.events import SendEvent
from shared.redis import keys
from tests.workers.send.test_handler import INTEGRATION
from tests.workers.send.test_pacing import build_message
from workers.send import rate_limits

LIMITED = LimitedError("slow down", retry_after_s=2)


@pytest.fixture(autouse=True)
def _stopped_clock(redis_client: redis.Redis) -> None:
    """Stop the clock of the lanes: it never goes back to the time that the wall clock shows."""
    now_ms = int(redis_client.time()[0]) * 1000
    redis_client.hset(keys.LANE_CLOCK, mapping={"wall": now_ms + 3_600_000, "lanes": now_ms})


def pass_time(client: redis.Redis, seconds: float, integration_id: UUID = INTEGRATION) -> None:
    """Move the stored times of a number into the past."""
    key = keys.rate_limit(integration_id)
    for field in ("until", "at", "probe_until"):
        client.hincrbyfloat(key, field, -seconds * 1000)


def read_rate(client: redis.Redis) -> float:
    return float(client.hget(keys.rate_limit(INTEGRATION), "rate") or 0)


def refuse(client: redis.Redis) -> SendEvent:
    event = build_message()
    rate_limits.report_refused(client, event, LIMITED)
    return event


def test_a_number_without_a_limit_costs_a_read_a_second(redis_client: redis.Redis) -> None:
    before = redis_client.info("commandstats").get("cmdstat_smembers", {}).get("calls", 0)
    for _ in range(100):
        assert rate_limits.acquire(redis_client, build_message()) == 0
        rate_limits.report_taken(redis_client, build_message())
    assert redis_client.info("commandstats")["cmdstat_smembers"]["calls"] - before <= 2


def test_a_limited_number_waits_and_then_tests_the_limit_with_one_message(
    redis_client: redis.Redis,
) -> None:
    """All wait for the Retry-After, then for the result of the first message."""
    refused = refuse(redis_client)
    assert 1.9 < rate_limits.acquire(redis_client, refused) <= 2.2
    pass_time(redis_client, 2)
    waits = [rate_limits.acquire(redis_client, build_message()) for _ in range(4)]
    assert waits[0] == 0
    assert all(expected <= wait < expected * 1.2 for expected, wait in enumerate(waits[1:], 1))
    rate_limits.report_taken(redis_client, refused)
    assert rate_limits.acquire(redis_client, build_message()) > 0
    pass_time(redis_client, 1)
    assert rate_limits.acquire(redis_client, build_message()) == 0
    assert rate_limits.acquire(redis_client, build_message(uuid4())) == 0, "another number waits"


def test_a_probe_whose_worker_vanished_is_replaced(redis_client: redis.Redis) -> None:
    refuse(redis_client)
    pass_time(redis_client, 2)
    assert rate_limits.acquire(redis_client, build_message()) == 0
    assert rate_limits.acquire(redis_client, build_message()) > 0
    pass_time(redis_client, 30)
    assert rate_limits.acquire(redis_client, build_message()) == 0


def test_the_rate_falls_with_each_429_and_grows_with_each_message(
    redis_client: redis.Redis,
) -> None:
    """Refusals of messages that went out together lower it once."""
    refuse(redis_client)
    refuse(redis_client)
    assert read_rate(redis_client) == 1
    pass_time(redis_client, 3)
    event = build_message()
    assert rate_limits.acquire(redis_client, event) == 0
    for _ in range(20):
        rate_limits.report_taken(redis_client, event)
    grown = read_rate(redis_client)
    assert grown > 5
    for _ in range(3):
        refuse(redis_client)
    assert read_rate(redis_client) == pytest.approx(grown * 0.7, rel=0.01)
    rate_limits.report_taken(redis_client, event)
    assert read_rate(redis_client) == pytest.approx(grown * 0.7, rel=0.01), "sent before the 429"
    pass_time(redis_client, 3)
    rate_limits.report_taken(redis_client, event)
    assert grown * 0.7 < read_rate(redis_client) < grown * 0.7 + 0.1, "it approaches the limit"


def test_a_message_keeps_its_place(redis_client: redis.Redis) -> None:
    """Asking again does not move it behind later messages."""
    refuse(redis_client)
    pass_time(redis_client, 2)
    rate_limits.acquire(redis_client, build_message())
    first = build_message()
    rate_limits.acquire(redis_client, first)
    later_s = [rate_limits.acquire(redis_client, build_message()) for _ in range(10)]
    assert rate_limits.acquire(redis_client, first) < 1.2 < later_s[-1]


@pytest.mark.parametrize("by", ["its rate", "time"])
def test_a_limit_ends(redis_client: redis.Redis, by: str) -> None:
    """At 100 messages a second, or 10 minutes after the last 429."""
    refuse(redis_client)
    key = keys.rate_limit(INTEGRATION)
    assert 590 <= redis_client.ttl(key) <= 600
    pass_time(redis_client, 3)
    if by == "time":
        redis_client.delete(key)
    else:
        redis_client.hset(key, "rate", 99)
        rate_limits.report_taken(redis_client, build_message())
    assert [rate_limits.acquire(redis_client, build_message()) for _ in range(5)] == [0] * 5
    assert not redis_client.exists(keys.RATE_LIMITED, key)

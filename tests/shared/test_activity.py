"""What organizations do adds up by minute, and the last hour has one entry a minute."""

from collections.abc import Iterator
from threading import Thread
from uuid import uuid4

import pytest
import redis

from shared import activity
from shared.activity import MAX_ORGANIZATIONS, MINUTE_MS, Activity, Minute, Totals
from shared.redis import keys
from shared.transitions import TRANSITIONS

AWAY = "redis://127.0.0.1:9/0"
ORGANIZATION = str(uuid4())
NOW_MS = 30_000_000 * MINUTE_MS + 1234
END_MS = 30_000_001 * MINUTE_MS


@pytest.fixture(autouse=True)
def _nothing_pending(redis_client: redis.Redis) -> Iterator[None]:
    """Earlier tests of this process may have counted."""
    activity.flush(redis_client, 0)
    yield
    activity.flush(redis_client, 0)


def make_minute(at_ms: int, organizations: int = 0) -> Minute:
    kinds = ("send", "webhook", "provision", "media", "callback")
    busy = Activity(123_456, 123_456, 1_234, 123, 12_345, 86_400.0)
    return Minute(
        at_ms=at_ms,
        totals={kind: Totals(1e9, 1e9, 1e6, 1e6) for kind in kinds},
        waiting=dict.fromkeys(kinds, 1_000_000),
        oldest_s=dict.fromkeys(kinds, 86_400.0),
        organizations={str(uuid4()): busy for _ in range(organizations)},
        others=busy,
    )


def tell(event: str, times: int = 1, organization_id: str | None = ORGANIZATION) -> None:
    for _ in range(times):
        activity.count_transition(event, {"organization_id": organization_id})


def test_processes_add_up_by_minute(redis_client: redis.Redis) -> None:
    """What belongs to no organization, or is no end of a message, is not counted."""
    tell("message.accepted", 3)
    tell("message.sent", 2)
    activity.flush(redis_client, NOW_MS)
    tell("message.failed")
    tell("message.expired")
    tell("message.unknown")
    tell("message.received")
    tell("message.sent", organization_id=None)
    activity.flush(redis_client, NOW_MS + 5_000)
    tell("message.sent")
    activity.flush(redis_client, NOW_MS + MINUTE_MS)
    expected = {ORGANIZATION: Activity(accepted=3, sent=2, failed=2, unknown=1)}
    assert activity.read_counts(redis_client, END_MS) == expected
    assert 0 < redis_client.ttl(keys.activity(NOW_MS // MINUTE_MS)) <= activity.KEPT_S
    assert activity.read_counts(redis_client, END_MS + MINUTE_MS)[ORGANIZATION].sent == 1


def test_a_process_that_counted_nothing_sends_nothing(redis_client: redis.Redis) -> None:
    before = redis_client.info("commandstats")
    activity.flush(redis_client, NOW_MS)
    after = redis_client.info("commandstats")
    assert after.get("cmdstat_hincrby") == before.get("cmdstat_hincrby")
    assert not redis_client.exists(keys.activity(NOW_MS // MINUTE_MS))


def test_an_outage_of_redis_loses_no_count(redis_client: redis.Redis) -> None:
    tell("message.sent")
    with redis.Redis.from_url(AWAY) as away, pytest.raises(redis.ConnectionError):
        activity.flush(away, NOW_MS)
    tell("message.sent")
    activity.flush(redis_client, NOW_MS)
    assert activity.read_counts(redis_client, END_MS)[ORGANIZATION].sent == 2


def test_a_long_outage_keeps_a_bounded_number_of_sums(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of known organizations go on."""
    monkeypatch.setattr(activity, "MAX_PENDING", 2)
    for each in ("a", "b", "c", "a"):
        tell("message.sent", organization_id=each)
    activity.flush(redis_client, NOW_MS)
    found = activity.read_counts(redis_client, END_MS)
    assert {name: messages.sent for name, messages in found.items()} == {"a": 2, "b": 1}


def test_every_counted_transition_exists() -> None:
    assert set(activity.TRANSITION_COUNTS) <= set(TRANSITIONS)
    assert set(activity.TRANSITION_COUNTS.values()) <= set(Activity._fields)


def test_of_several_writers_one_adds_the_minute(redis_client: redis.Redis) -> None:
    """And none adds an earlier one afterwards."""
    answers: list[bool] = []
    minute = make_minute(END_MS)
    writers = [
        Thread(target=lambda: answers.append(activity.add_minute(redis_client, minute)))
        for _ in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(answers) == [False] * 7 + [True]
    assert not activity.add_minute(redis_client, make_minute(END_MS - MINUTE_MS))
    assert activity.read_minutes(redis_client) == [minute]
    assert activity.find_last(redis_client) == END_MS


def test_an_hour_is_kept_in_bounded_memory(redis_client: redis.Redis) -> None:
    """With as many organizations as an entry may have, and large numbers."""
    assert activity.find_last(redis_client) == 0
    for each in range(100):
        activity.add_minute(redis_client, make_minute(END_MS + each * MINUTE_MS, MAX_ORGANIZATIONS))
    found = activity.read_minutes(redis_client)
    assert [minute.at_ms for minute in found] == [
        END_MS + each * MINUTE_MS for each in range(100 - activity.MAX_ENTRIES, 100)
    ]
    size = redis_client.memory_usage(keys.MINUTES)
    assert size
    assert size < 300_000


def test_the_oldest_of_several_is_the_oldest_of_all() -> None:
    both = activity.add_up([Activity(1, 2, 3, 4, 5, 60.0), Activity(1, 1, 1, 1, 1, 7.0)])
    assert both == Activity(2, 3, 4, 5, 6, 60.0)

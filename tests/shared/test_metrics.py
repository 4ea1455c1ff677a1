"""What processes count adds up in Redis, and nothing is lost while Redis is away."""

from collections.abc import Iterator

import pytest
import redis

from shared import metrics
from shared.redis import keys
from shared.transitions import TRANSITIONS

AWAY = "redis://127.0.0.1:9/0"


@pytest.fixture(autouse=True)
def _nothing_pending(redis_client: redis.Redis) -> Iterator[None]:
    """Earlier tests of this process may have counted."""
    metrics.flush(redis_client)
    redis_client.delete(keys.METRICS)
    yield
    metrics.flush(redis_client)


def test_processes_add_up(redis_client: redis.Redis) -> None:
    for amount in (1, 2):
        metrics.count("wpp_events_accepted_total", "send", amount)
        metrics.flush(redis_client)
    assert dict(metrics.read(redis_client))["wpp_events_accepted_total"] == {"send": 3}


def test_an_outage_of_redis_loses_no_count(redis_client: redis.Redis) -> None:
    metrics.count("wpp_messages_sent_total")
    with redis.Redis.from_url(AWAY) as away, pytest.raises(redis.ConnectionError):
        metrics.flush(away)
    metrics.count("wpp_messages_sent_total")
    metrics.flush(redis_client)
    assert dict(metrics.read(redis_client))["wpp_messages_sent_total"] == {"": 2}


def test_transitions_are_counted(redis_client: redis.Redis) -> None:
    """By a field of the transition, or by the word in its name."""
    metrics.count_transition("number.down", {"account": "a"})
    metrics.count_transition("event.dead_lettered", {"kind": "media"})
    metrics.count_transition("message.resolved", {})
    metrics.count_transition("breaker.opened", {})
    metrics.flush(redis_client)
    found = {name: values for name, values in metrics.read(redis_client) if values}
    assert found == {
        "wpp_number_changes_total": {"down": 1},
        "wpp_events_dead_lettered_total": {"media": 1},
        "wpp_messages_resolved_total": {"": 1},
    }


def test_every_counter_of_a_transition_exists() -> None:
    for event, (name, _) in metrics.TRANSITION_COUNTERS.items():
        assert event in TRANSITIONS
        assert name in metrics.COUNTED

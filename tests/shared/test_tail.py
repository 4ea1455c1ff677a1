"""Transitions are published while a watcher listens, and masked."""

import redis

from shared import tail
from shared.redis import keys
from tests.fixtures.waiting import wait_until


def wait_for_watchers(client: redis.Redis, count: int) -> None:
    """Wait until Redis has read what the watchers sent when they began."""
    wait_until(lambda: client.pubsub_numsub(keys.TAIL) == [(keys.TAIL.encode(), count)])


def test_a_watcher_gets_transitions_without_phones_and_keys(redis_client: redis.Redis) -> None:
    publisher = tail.TailPublisher(redis_client, "send")
    watching = tail.watch(redis_client, timeout_s=0.05)
    assert next(watching) is None
    wait_for_watchers(redis_client, 1)
    publisher.publish()
    publisher.hear("message.sent", {"event_id": "1", "lane": "send:7:79990001122", "token": "x"})
    publisher.publish()
    line = next(each for each in watching if each)
    assert (line["event"], line["process"], line["event_id"]) == ("message.sent", "send", "1")
    assert "79990001122" not in str(line)
    assert line["token"] != "x"


def test_nothing_is_kept_without_a_watcher(redis_client: redis.Redis) -> None:
    publisher = tail.TailPublisher(redis_client, "send")
    publisher.hear("message.sent", {"event_id": "before"})
    publisher.publish()
    watching = tail.watch(redis_client, timeout_s=0.05)
    assert next(watching) is None
    publisher.publish()
    assert next(watching) is None


def count_looks(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    return sum(stats[name]["calls"] for name in stats if name.startswith("cmdstat_pubsub"))


def test_a_process_that_has_nothing_to_tell_sends_no_command(redis_client: redis.Redis) -> None:
    before = count_looks(redis_client)
    publisher = tail.TailPublisher(redis_client, "send")
    publisher.publish()
    assert count_looks(redis_client) == before
    publisher.hear("message.sent", {})
    publisher.publish()
    assert count_looks(redis_client) == before + 1


def test_a_watcher_of_shards_gets_the_transitions_of_all(redis_client: redis.Redis) -> None:
    """A shard has its own listener; here two listen to the same server, so a line comes twice."""
    watching = tail.watch_all([redis_client, redis_client])
    assert next(watching) is None
    wait_for_watchers(redis_client, 2)
    publisher = tail.TailPublisher(redis_client, "send")
    publisher.hear("message.sent", {"event_id": "1"})
    publisher.publish()
    lines = (each for each in watching if each)
    assert [next(lines)["event_id"] for _ in range(2)] == ["1", "1"]

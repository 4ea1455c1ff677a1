"""Transitions are published while a watcher listens, and masked."""

import redis

from shared import tail


def test_a_watcher_gets_transitions_without_phones_and_keys(redis_client: redis.Redis) -> None:
    publisher = tail.TailPublisher(redis_client, "send")
    watching = tail.watch(redis_client, timeout_s=0.05)
    assert next(watching) is None  # subscribed from here on
    publisher.publish()
    publisher.hear("message.sent", {"event_id": "1", "lane": "send:7:79990001122", "token": "x"})
    publisher.publish()
    line = next(each for each in watching if each)
    assert (line["event"], line["process"], line["event_id"]) == ("message.sent", "send", "1")
    assert "79990001122" not in str(line)
    assert line["token"] != "x"


def test_nothing_is_kept_without_a_watcher(redis_client: redis.Redis) -> None:
    publisher = tail.TailPublisher(redis_client, "send")
    publisher.publish()
    publisher.hear("message.sent", {"event_id": "before"})
    watching = tail.watch(redis_client, timeout_s=0.05)
    assert next(watching) is None
    publisher.publish()
    assert next(watching) is None

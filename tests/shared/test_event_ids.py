"""Ids that only this installation can derive from an idempotency key."""

import time
from dataclasses import replace
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IdempotencyConflictError
from shared.event_ids import UPGRADE_S, EventIds
from shared.events import Message
from shared.producer import Producer
from shared.redis import keys

ORGANIZATION, OTHER = uuid4(), uuid4()
IDS = EventIds(b"secret")


def test_every_process_derives_the_same_ids(redis_client: redis.Redis) -> None:
    """Those that start at the same time, and those that start later."""
    first = EventIds.load(redis_client)
    assert EventIds.load(redis_client).secret == first.secret
    assert len(first.secret) == 64
    assert redis_client.ttl(keys.EVENT_ID_SECRET) == -1
    assert first.secret.decode() not in repr(first)


def test_the_same_key_is_the_same_event_of_that_organization_only() -> None:
    """Another key, or the same key of another organization, is another event; no key is new."""
    event_id = IDS.make(ORGANIZATION, "order-17")
    assert event_id == IDS.make(ORGANIZATION, "order-17")
    assert event_id != IDS.make(ORGANIZATION, "order-18")
    assert event_id != IDS.make(OTHER, "order-17")
    assert IDS.make(ORGANIZATION, None) != IDS.make(ORGANIZATION, None)
    with pytest.raises(ValueError, match="key is empty"):
        IDS.make(ORGANIZATION, "")


@given(first=st.text(min_size=1), second=st.text(min_size=1))
def test_different_keys_are_different_events(first: str, second: str) -> None:
    """They may contain any characters."""
    ids = IDS.make(ORGANIZATION, first), IDS.make(ORGANIZATION, second)
    assert (ids[0] == ids[1]) == (first == second)


def test_nobody_else_derives_an_id() -> None:
    """Organization and key are not enough."""
    guesses = {
        uuid5(NAMESPACE_URL, f"wpp:{ORGANIZATION}:otp-42"),
        EventIds(b"another secret").make(ORGANIZATION, "otp-42"),
        EventIds(b"").make(ORGANIZATION, "otp-42"),
    }
    assert IDS.make(ORGANIZATION, "otp-42") not in guesses


def test_a_new_installation_has_no_earlier_ids(redis_client: redis.Redis) -> None:
    """So a request with a key costs no look-up."""
    ids = EventIds.load(redis_client)
    assert ids.make_previous(ORGANIZATION, "k") is None


def test_a_retry_across_the_update_is_the_same_message(redis_client: redis.Redis) -> None:
    """Until the record of the first request has expired."""
    redis_client.set(keys.FENCE, 7)
    ids = EventIds.load(redis_client)
    previous = ids.make_previous(ORGANIZATION, "k")
    assert previous == uuid5(NAMESPACE_URL, f"wpp:{ORGANIZATION}:k")
    assert ids.previous_until_s == pytest.approx(time.time() + UPGRADE_S, abs=60)
    assert EventIds.load(redis_client).make_previous(ORGANIZATION, "k") == previous
    assert replace(ids, previous_until_s=time.time() - 1).make_previous(ORGANIZATION, "k") is None
    message = Message(to="+79990001122", text="Hello", integration_id=UUID(int=1))
    producer = Producer(redis_client)
    assert producer.send(ORGANIZATION, message, "k").id == ids.make(ORGANIZATION, "k")
    redis_client.hset(keys.event(previous), mapping={"state": "sent", "print": "of that time"})
    with pytest.raises(IdempotencyConflictError):
        producer.send(ORGANIZATION, message, "k")


def test_a_redis_that_lost_its_data_gets_the_secret_back(redis_client: redis.Redis) -> None:
    """From any process that runs, so that a key still is the same message everywhere."""
    first, second = EventIds.load(redis_client), EventIds.load(redis_client)
    redis_client.flushall()
    redis_client.set(keys.FENCE, 7)
    first.keep(redis_client)
    second.keep(redis_client)
    third = EventIds.load(redis_client)
    assert {each.make(ORGANIZATION, "k") for each in (first, second, third)} == {
        second.make(ORGANIZATION, "k")
    }
    assert third.make_previous(ORGANIZATION, "k") is None, "no ids of before the secret"


def test_processes_agree_on_a_new_secret(redis_client: redis.Redis) -> None:
    """A process that starts before the secret is back makes a new secret, which all take."""
    running = EventIds.load(redis_client)
    redis_client.flushall()
    started = EventIds.load(redis_client)
    running.keep(redis_client)
    assert running.secret == started.secret


def test_a_producer_looks_from_time_to_time(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = uuid4()
    producer = Producer(redis_client)
    message = Message(to="+79990001122", text="Hello", integration_id=number)
    first = producer.send(ORGANIZATION, message, "k").id
    monkeypatch.setattr("shared.event_ids.KEEP_EVERY_S", 0)
    redis_client.flushall()
    assert producer.send(ORGANIZATION, message, "k").id == first
    assert Producer(redis_client).send(ORGANIZATION, message, "k").id == first

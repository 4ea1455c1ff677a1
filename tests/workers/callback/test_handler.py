"""What becomes of a post: order, repetition, failing receivers, the log."""

from datetime import timedelta

import pytest

from shared.callbacks import RETRY_AFTER_S, make_secret, sign
from shared.events import utc_now
from shared.lanes.types import ClaimSequence
from shared.redis import keys
from tests.fixtures.receiver import Receiver
from tests.workers.callback.conftest import CallbackEnv
from workers.clock.sweeper import take_over


def test_events_are_posted_signed_and_in_order(env: CallbackEnv, receiver: Receiver) -> None:
    callback = env.add_callback(receiver.url)
    env.arrive("one", "two", "three")
    env.dispatch()
    env.work()
    assert receiver.texts == ["one", "two", "three"]
    for post in receiver.posts:
        timestamp = int(post.headers["webhook-timestamp"])
        expected = sign(callback.secret, post.id, timestamp, post.body)
        assert post.headers["webhook-signature"] == expected
        assert post.event["id"] == post.id
        assert post.event["type"] == "message.received"
    found = env.deliveries(callback)
    assert [(each.outcome, each.status, each.attempt) for each in found] == [
        ("delivered", 204, 1)
    ] * 3
    assert [each.webhook_id for each in found] == [post.id for post in receiver.posts]


def test_a_failing_receiver_gets_the_same_event_again_first(
    env: CallbackEnv, receiver: Receiver
) -> None:
    """The conversation keeps its order; meanwhile a single post tests the receiver."""
    callback = env.add_callback(receiver.url)
    receiver.answer = lambda _post: 503
    env.arrive("one", "two")
    env.arrive("elsewhere", phone="79990003344")
    env.dispatch()
    assert env.work() == 1, "the gate holds the other conversation"
    assert env.reload(callback).failing_since
    receiver.answer = lambda _post: 200
    env.pass_time()
    env.work()
    assert sorted(receiver.texts[1:], key=str) == ["elsewhere", "one", "two"]
    assert receiver.texts.index("two") > receiver.texts[1:].index("one") + 1
    first = [post.id for post in receiver.posts if post.text == "one"]
    assert len(first) == 2
    assert len(set(first)) == 1
    assert env.reload(callback).failing_since is None
    assert [each.attempt for each in env.deliveries(callback) if each.webhook_id == first[0]] == [
        1,
        2,
    ]


def test_a_refused_event_holds_its_own_conversation_only(
    env: CallbackEnv, receiver: Receiver
) -> None:
    env.add_callback(receiver.url)
    receiver.answer = lambda post: 400 if post.text == "poison" else 200
    env.arrive("poison", "behind it")
    env.arrive("elsewhere", phone="79990003344")
    env.dispatch()
    env.work()
    assert sorted(receiver.texts, key=str) == ["elsewhere", "poison"]


def test_an_event_is_given_up_after_its_last_attempt(env: CallbackEnv, receiver: Receiver) -> None:
    """The next of its conversation follows."""
    callback = env.add_callback(receiver.url)
    receiver.answer = lambda post: 400 if post.text == "poison" else 200
    env.arrive("poison", "next")
    env.dispatch()
    for _ in range(len(RETRY_AFTER_S) + 1):
        env.work()
        env.pass_time()
    env.work()
    outcomes = [each.outcome for each in env.deliveries(callback)]
    assert outcomes == ["failed"] * len(RETRY_AFTER_S) + ["given_up", "delivered"]


def test_a_worker_that_dies_after_the_post_posts_again_under_the_same_id(
    env: CallbackEnv, receiver: Receiver
) -> None:
    callback = env.add_callback(receiver.url)
    env.arrive("one", "two")
    env.dispatch()
    claim = env.lanes.claim("callback", ClaimSequence())
    assert claim
    env.handle(claim)  # and it is killed: the result never arrives
    env.client.zadd(keys.leases("callback"), {claim.lane: 1})
    for taken in env.lanes.sweep("callback").expired_claims:
        env.lanes.conclude(taken, take_over(taken, None))  # type: ignore[arg-type]
    env.pass_time()
    env.work()
    assert receiver.texts == ["one", "one", "two"]
    assert receiver.posts[0].id == receiver.posts[1].id
    assert env.deliveries(callback)


def test_a_receiver_that_is_gone_is_disabled_at_once(env: CallbackEnv, receiver: Receiver) -> None:
    """410; its events wait, and follow when it is enabled again."""
    callback = env.add_callback(receiver.url)
    receiver.answer = lambda _post: 410
    env.arrive("one")
    env.dispatch()
    env.work()
    disabled = env.reload(callback)
    assert not disabled.is_enabled
    assert "410" in (disabled.disabled_reason or "")
    env.arrive("two")
    env.dispatch()
    env.pass_time()
    env.work()
    assert len(receiver.posts) == 1
    receiver.answer = lambda _post: 200
    env.database.callbacks.update(callback.id, env.id, {"is_enabled": True})
    env.dispatch()
    env.pass_time()
    env.work()
    assert receiver.texts == ["one", "one", "two"]


def test_a_receiver_that_fails_for_days_is_disabled(env: CallbackEnv, receiver: Receiver) -> None:
    callback = env.add_callback(receiver.url)
    receiver.answer = lambda _post: 500
    env.arrive("one")
    env.dispatch()
    env.work()
    assert env.reload(callback).is_enabled
    env.sql("update wpp_callbacks set failing_since = now() - interval '73 hours'")
    env.pass_time()
    env.work()
    disabled = env.reload(callback)
    assert not disabled.is_enabled
    assert "nothing was delivered since" in (disabled.disabled_reason or "")


def test_a_failing_receiver_delays_no_other(env: CallbackEnv, receiver: Receiver) -> None:
    """Neither another callback of its organization, nor another organization's."""
    other = CallbackEnv(env.client, env.database, env.database_url, account="43")
    broken = env.add_callback(receiver.url.replace("/hook", "/broken"))
    good = env.add_callback(receiver.url)
    theirs = other.add_callback(receiver.url)
    broken = env.reload(broken)
    env.sql("update wpp_callbacks set url = 'http://127.0.0.1:9/' where id = %s", broken.id)
    env.arrive(*(f"mine {n}" for n in range(3)))
    other.arrive("theirs")
    env.dispatch()
    env.work()
    assert sorted(receiver.texts, key=str) == ["mine 0", "mine 1", "mine 2", "theirs"]
    assert len(env.deliveries(good)) == 3
    assert [each.type for each in other.deliveries(theirs)] == ["message.received"]
    assert other.deliveries(good) == []


def test_a_deleted_callback_gets_nothing_more(env: CallbackEnv, receiver: Receiver) -> None:
    callback = env.add_callback(receiver.url)
    env.arrive("one")
    env.dispatch()
    env.database.callbacks.delete(callback.id, env.id)
    assert env.work() == 1
    assert receiver.posts == []


def test_both_secrets_sign_after_a_rotation(env: CallbackEnv, receiver: Receiver) -> None:
    callback = env.add_callback(receiver.url)
    changed = env.database.callbacks.rotate(
        callback, make_secret(), utc_now() + timedelta(hours=24)
    )
    assert changed
    env.arrive("one")
    env.dispatch()
    env.work()
    [post] = receiver.posts
    timestamp = int(post.headers["webhook-timestamp"])
    signatures = post.headers["webhook-signature"].split()
    assert signatures == [
        sign(secret, post.id, timestamp, post.body) for secret in (changed.secret, callback.secret)
    ]


@pytest.mark.parametrize("outcome", ["delivered", "failed"])
def test_the_log_holds_no_secret(env: CallbackEnv, receiver: Receiver, outcome: str) -> None:
    receiver.answer = lambda _post: 200 if outcome == "delivered" else 500
    callback = env.add_callback(receiver.url)
    env.arrive("one")
    env.dispatch()
    env.work()
    [found] = env.deliveries(callback)
    assert found.outcome == outcome
    assert callback.secret.get_secret_value() not in found.model_dump_json()

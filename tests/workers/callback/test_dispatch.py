"""Events reach the lanes of callbacks once, also after a kill; unwanted events stay out."""

import threading
from typing import Any
from uuid import UUID

import pytest

from shared.callbacks import Callback
from shared.database.callbacks import Callbacks
from shared.events import utc_now
from shared.outbox import Outbox
from shared.shards import ShardPart
from tests.fixtures.receiver import Receiver
from tests.fixtures.waiting import wait_until
from tests.workers.callback.conftest import CallbackEnv
from workers.callback import dispatch


class KilledError(BaseException):
    """The end of the process."""


def test_only_wanted_events_are_posted(env: CallbackEnv, receiver: Receiver) -> None:
    """The position moves on past unwanted events."""
    callback = env.add_callback(receiver.url, types=["number.*"])
    env.arrive("unwanted")
    env.dispatch()
    assert env.work() == 0
    assert env.reload(callback).position > callback.position


def test_a_dispatcher_that_is_killed_loses_and_doubles_nothing(
    env: CallbackEnv, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each number of appended events, before the position moved on."""
    env.add_callback(receiver.url)
    env.arrive("one", "two", "three")

    def be_killed(_self: Callbacks, _found: Callback, _reached: int) -> bool:
        raise KilledError

    monkeypatch.setattr(Callbacks, "advance", be_killed)
    with pytest.raises(KilledError):
        env.dispatch()
    monkeypatch.undo()
    env.dispatch()
    env.work()
    assert receiver.texts == ["one", "two", "three"]


def test_two_dispatchers_post_each_event_once(env: CallbackEnv, receiver: Receiver) -> None:
    env.add_callback(receiver.url)
    env.arrive(*(str(n) for n in range(30)))
    threads = [threading.Thread(target=env.dispatch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    env.work()
    assert receiver.texts == [str(n) for n in range(30)]


def test_a_rewind_posts_again_under_the_same_ids(env: CallbackEnv, receiver: Receiver) -> None:
    callback = env.add_callback(receiver.url)
    env.arrive("before")
    env.dispatch()
    env.work()
    since = utc_now()
    env.arrive("one", "two")
    env.dispatch()
    env.work()
    assert env.database.callbacks.rewind(callback.id, env.id, since)
    env.dispatch()
    env.work()
    assert receiver.texts == ["before", "one", "two", "one", "two"]
    ids = [post.id for post in receiver.posts]
    assert ids[1:3] == ids[3:5]


def test_what_waits_for_a_broken_receiver_stays_in_supabase(
    env: CallbackEnv, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further callbacks of the organization go on."""
    monkeypatch.setattr(dispatch, "STRAINED", 2)
    broken = env.add_callback("http://127.0.0.1:9/")
    env.arrive("a", "b")
    env.dispatch()
    env.work()
    env.add_callback(receiver.url)
    position = env.reload(broken).position
    env.arrive("c")
    env.dispatch()
    env.work()
    assert env.reload(broken).position == position
    assert receiver.texts == ["c"]


def test_a_change_that_the_recorder_announces_is_dispatched_at_once(
    env: CallbackEnv, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before it would be looked for without a notification."""
    monkeypatch.setattr(dispatch, "POLL_S", 60.0)
    change: dict[str, Any] = {"organization_id": str(env.id), "what": "message"}
    env.add_callback(receiver.url)
    stopping = threading.Event()
    thread = threading.Thread(target=env.dispatcher.run, args=(stopping,))
    thread.start()
    try:
        env.arrive("one")
        Outbox(env.client).publish_changes([change])
        wait_until(lambda: env.work() or None, "a post")
    finally:
        stopping.set()
        Outbox(env.client).publish_changes([change])  # it waits for a change
        thread.join()
    assert receiver.texts == ["one"]


def test_organizations_get_their_own_events_only(env: CallbackEnv, receiver: Receiver) -> None:
    other = CallbackEnv(env.client, env.database, env.database_url, account="43")
    mine, theirs = env.add_callback(receiver.url), other.add_callback(receiver.url)
    env.arrive("mine")
    other.arrive("theirs")
    env.dispatch()
    env.work()
    assert len(env.deliveries(mine)) == len(other.deliveries(theirs)) == 1
    assert other.database.callbacks.find(mine.id, other.id) is None
    assert other.deliveries(mine) == []
    assert not other.database.callbacks.rewind(mine.id, other.id, utc_now())


def test_events_of_organizations_on_other_shards_are_left_to_them(
    env: CallbackEnv, receiver: Receiver
) -> None:
    """Their callbacks do not stand in front, either."""
    env.add_callback(receiver.url)
    env.arrive("one")

    class NoPart(ShardPart):
        def has(self, organization_id: UUID) -> bool:
            del organization_id
            return False

    elsewhere = dispatch.Dispatcher(env.client, env.lanes, env.database, NoPart(None, ""))
    assert not elsewhere.dispatch()[1]
    assert env.work() == 0
    env.dispatch()
    env.work()
    assert receiver.texts == ["one"]

"""The commands of queues.lua on a real Redis, one by one and in any order."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import NoScriptError

from sandbox.redis import RedisServer
from shared.broker.queues import Entry, Queues, Tick, enqueue_on, load_scripts
from tests.shared.broker.workshop import texts

NAMESPACE = "wpp:test"
HOUR_MS = 3_600_000


@pytest.fixture
def queues(redis_client: redis.Redis) -> Queues:
    return Queues(redis_client, NAMESPACE)


def another(queues: Queues) -> Queues:
    """Return the queues as a second worker sees them."""
    return Queues(queues.client, NAMESPACE)


def put(queues: Queues, *ids: str, queue: str = "q", delay: int = 0) -> None:
    for message_id in ids:
        assert queues.enqueue(Entry(queue, message_id, message_id.encode(), delay=delay))


def tick(queues: Queues, heartbeat_timeout: int = HOUR_MS, dead_letter_ttl: int = HOUR_MS) -> Tick:
    return queues.tick(["q"], heartbeat_timeout, dead_letter_ttl)


def waiting(queues: Queues, queue: str = "q") -> list[str]:
    return texts(queues.client.lrange(f"{NAMESPACE}:{queue}", 0, -1))


def silence(queues: Queues) -> None:
    """Make this worker's last heartbeat very old."""
    queues.client.zadd(f"{NAMESPACE}:alive:workers", {queues.worker: 0})


def rings(queues: Queues, queue: str = "q") -> bool:
    return queues.await_bell([queues.bell(queue)], 0.01) is not None


def test_messages_are_fetched_in_order_and_gone_once_acknowledged(queues: Queues) -> None:
    put(queues, "a", "b", "c")
    assert queues.fetch("q", 2) == [("a", b"a"), ("b", b"b")]
    for message_id in ("a", "b"):
        queues.ack("q", message_id)
    assert queues.size("q") == 1
    assert queues.fetch("q", 2) == [("c", b"c")]


def test_enqueueing_again_changes_nothing_even_after_the_message_is_done(queues: Queues) -> None:
    """A client that lost the reply sends the command again, and by then a quick worker may be through with it."""
    entry = Entry("q", "a", b"a")
    assert queues.enqueue(entry)
    assert not queues.enqueue(entry)
    assert waiting(queues) == ["a"]
    queues.fetch("q", 1)
    queues.ack("q", "a")
    assert not queues.enqueue(entry)
    assert queues.size("q") == 0


def test_a_retry_takes_the_place_of_the_attempt_that_failed(queues: Queues) -> None:
    """After one step the attempt is gone and the retry is there; doing it again changes nothing."""
    put(queues, "attempt")
    queues.fetch("q", 1)
    retry = Entry("q", "retry", b"retry", delay=HOUR_MS, replaces="attempt")
    queues.enqueue(retry)
    queues.enqueue(retry)
    assert tick(queues).held == []
    assert queues.size("q") == 1
    assert queues.client.zcard(f"{NAMESPACE}:q.DQ") == 1


def test_a_delayed_message_becomes_ready_when_it_is_due_and_not_before(queues: Queues) -> None:
    put(queues, "later", delay=HOUR_MS)
    due_s = tick(queues).due_s
    assert due_s is not None
    assert due_s == pytest.approx(3600, abs=5)
    assert waiting(queues) == []
    queues.client.zadd(f"{NAMESPACE}:q.DQ", {"later": 0})
    assert tick(queues).due_s is None
    assert waiting(queues) == ["later"]


def test_only_a_message_that_is_due_before_all_others_rings_for_it(queues: Queues) -> None:
    put(queues, "first", delay=HOUR_MS)
    assert rings(queues, "q.DQ")
    put(queues, "second", delay=2 * HOUR_MS)
    assert not rings(queues, "q.DQ")
    put(queues, "sooner", delay=1000)
    assert rings(queues, "q.DQ")


def test_the_bell_stays_while_there_is_something_to_fetch(queues: Queues) -> None:
    put(queues, "a", "b")
    assert rings(queues), "an enqueue rings"
    assert not rings(queues), "once"
    queues.fetch("q", 1)
    assert rings(queues), "who leaves something calls the next worker"
    queues.fetch("q", 1)
    assert not rings(queues)
    put(queues, "c")
    assert rings(queues)
    queues.pass_on("q")
    assert rings(queues), "who has no use for it passes it on"
    tick(queues)
    assert rings(queues), "and a tick mends a bell whose hearer died"


def test_requeued_messages_stand_at_the_head_in_their_order(queues: Queues) -> None:
    put(queues, *"abcde")
    queues.fetch("q", 4)
    queues.requeue(["b", "c", "d"])
    assert waiting(queues) == ["b", "c", "d", "e"]
    queues.requeue(["b", "c"])
    assert waiting(queues) == ["b", "c", "d", "e"], "a second time changes nothing"


def test_more_messages_are_requeued_than_lua_takes_arguments(queues: Queues) -> None:
    ids = [f"{number}" for number in range(9_000)]
    queues.enqueue_many(Entry("q", message_id, b"x") for message_id in ids)
    assert len(queues.fetch("q", 10_000)) == len(ids)
    queues.requeue(ids)
    assert waiting(queues) == ids


def test_what_a_dead_worker_held_goes_back_to_the_head_in_its_order(queues: Queues) -> None:
    put(queues, *"abc")
    dead = another(queues)
    dead.fetch("q", 2)
    tick(queues)
    assert waiting(queues) == ["c"]
    silence(dead)
    tick(queues)
    assert waiting(queues) == ["a", "b", "c"]
    assert queues.client.zrange(f"{NAMESPACE}:alive:workers", 0, -1) == [queues.worker.encode()]


def test_it_goes_back_to_queues_that_the_survivor_does_not_serve(queues: Queues) -> None:
    put(queues, "a", queue="other")
    dead = another(queues)
    dead.fetch("other", 1)
    tick(queues)
    silence(dead)
    tick(queues)
    assert waiting(queues, "other") == ["a"]
    assert rings(queues, "other")


def test_recovery_asks_for_no_scan_of_the_database(queues: Queues) -> None:
    """KEYS in a database with a million other keys stops Redis for 0.2 s."""
    queues.client.config_resetstat()
    test_what_a_dead_worker_held_goes_back_to_the_head_in_its_order(queues)
    used = set(queues.client.info("commandstats"))
    assert used.isdisjoint({"cmdstat_keys", "cmdstat_scan"})


def test_nobody_is_taken_for_dead_because_redis_was_away(queues: Queues) -> None:
    """All heartbeats are old then; the first worker to come back must not take what the others are working on."""
    other = another(queues)
    put(queues, "a")
    other.fetch("q", 1)
    silence(other)
    queues.client.set(f"{NAMESPACE}:alive:ticked", 1)
    tick(queues)
    assert waiting(queues) == []
    silence(other)
    tick(queues)
    assert waiting(queues) == ["a"], "but if it stays silent, it is"


def test_a_worker_given_up_for_dead_that_finishes_keeps_others_from_doing_it_again(
    queues: Queues,
) -> None:
    put(queues, "a")
    slow = another(queues)
    slow.fetch("q", 1)
    tick(queues)
    silence(slow)
    tick(queues)
    slow.ack("q", "a")
    assert queues.fetch("q", 1) == []


def test_a_rejected_message_stands_among_the_dead_letters_until_its_time_is_over(
    queues: Queues,
) -> None:
    put(queues, "a")
    queues.fetch("q", 1)
    queues.nack("q", "a")
    queues.nack("q", "a")
    assert queues.size("q") == 0
    assert queues.client.hgetall(f"{NAMESPACE}:q.XQ.msgs") == {b"a": b"a"}
    tick(queues)
    assert queues.client.zcard(f"{NAMESPACE}:q.XQ") == 1
    tick(queues, dead_letter_ttl=-1)
    assert not queues.client.exists(f"{NAMESPACE}:q.XQ", f"{NAMESPACE}:q.XQ.msgs")


def test_leaving_forgets_the_worker_unless_it_holds_something(queues: Queues) -> None:
    put(queues, "a")
    queues.fetch("q", 1)
    queues.leave()
    assert queues.client.zcard(f"{NAMESPACE}:alive:workers") == 1
    queues.ack("q", "a")
    queues.leave()
    assert queues.client.zcard(f"{NAMESPACE}:alive:workers") == 0


def test_purging_leaves_nothing_to_run(queues: Queues) -> None:
    put(queues, "held", "waiting")
    put(queues, "later", delay=HOUR_MS)
    queues.fetch("q", 1)
    queues.purge("q")
    queues.requeue(["held"])
    assert queues.size("q") == 0
    assert queues.fetch("q", 5) == []


def test_enqueueing_many_survives_a_redis_that_forgot_the_script(queues: Queues) -> None:
    """Redis forgets scripts when it restarts."""
    queues.client.script_flush()
    queues.enqueue_many([Entry("q", "a", b"a"), Entry("q", "b", b"b")])
    assert waiting(queues) == ["a", "b"]


def test_an_enqueue_joins_the_transaction_of_a_caller_and_respects_its_bound(
    queues: Queues,
) -> None:
    load_scripts(queues.client)
    with queues.client.pipeline(transaction=True) as pipe:
        pipe.set("wpp:other", 1)
        for message_id in ("a", "b", "c"):
            enqueue_on(pipe, NAMESPACE, Entry("q", message_id, b"x", unless_depth=2))
        assert pipe.execute() == [True, 1, 1, 0]
    assert waiting(queues) == ["a", "b"]


def test_an_enqueue_takes_one_of_the_wanted(queues: Queues) -> None:
    """A counter elsewhere says how many such messages are wanted; the others are not put in."""
    queues.client.set("wpp:wanted", 2)
    assert [queues.enqueue(Entry("q", each, b"x", wanted="wpp:wanted")) for each in "abc"] == [
        True,
        True,
        False,
    ]
    assert waiting(queues) == ["a", "b"]
    assert queues.client.get("wpp:wanted") == b"0"


def test_a_repeated_enqueue_takes_no_second_one_of_the_wanted(queues: Queues) -> None:
    """Its first reply was lost: the other lane still wants its own wake-up."""
    queues.client.set("wpp:wanted", 2)
    assert [queues.enqueue(Entry("q", "a", b"a", wanted="wpp:wanted")) for _ in range(2)] == [
        True,
        False,
    ]
    assert queues.client.get("wpp:wanted") == b"1"


def test_with_a_full_memory_everything_goes_on_but_new_messages(queues: Queues) -> None:
    """Only what is done makes room again. Wake-ups are bounded in number, and needed for that."""
    put(queues, "a", "b", "c", "d")
    put(queues, "due", delay=1)
    time.sleep(0.01)
    queues.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            queues.client.set("x", 1)
        with pytest.raises(redis.RedisError, match="OOM"):
            queues.enqueue(Entry("q", "e", b"e"))
        assert tick(queues).held == []
        assert [message_id for message_id, _ in queues.fetch("q", 4)] == ["a", "b", "c", "d"]
        queues.ack("q", "a")
        queues.nack("q", "b")
        queues.requeue(["c"])
        assert queues.enqueue(Entry("q", "again", b"d", replaces="d"))
        assert queues.enqueue(Entry("q", "wake-up", b"w", unless_depth=10))
        queues.pass_on("q")
        queues.poke()
        assert waiting(queues) == ["c", "due", "again", "wake-up"]
        queues.leave()
    finally:
        queues.client.config_set("maxmemory", 0)


def test_an_enqueue_joins_an_asynchronous_pipeline(
    queues: Queues, redis_server: RedisServer
) -> None:
    """And says so when Redis does not know the script, so that the caller loads it and does the same once more."""

    async def pipelined(client: "redis.asyncio.Redis") -> list[Any]:
        async with client.pipeline(transaction=True) as pipe:
            enqueue_on(pipe, NAMESPACE, Entry("q", "a", b"a"))
            return list(await pipe.execute())

    async def enqueue() -> list[Any]:
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            await client.script_flush()
            with pytest.raises(NoScriptError):
                await pipelined(client)
            await load_scripts(client)
            return await pipelined(client)

    assert asyncio.run(enqueue()) == [1]
    assert waiting(queues) == ["a"]


class QueuesInAnyOrder(RuleBasedStateMachine):
    """Three workers that fetch, settle, hand back and die, in any order: each message is in exactly one place."""

    client: "redis.Redis"

    @initialize()
    def begin(self) -> None:
        self.client.flushall()
        self.workers = [Queues(self.client, NAMESPACE) for _ in range(3)]
        self.hands: dict[str, set[str]] = {worker.worker: set() for worker in self.workers}
        self.count = 0
        self.done: set[str] = set()
        self.rejected: set[str] = set()

    def _new_id(self) -> str:
        self.count += 1
        return f"m{self.count}"

    @rule(delay=st.sampled_from([0, 0, HOUR_MS]), times=st.integers(1, 2))
    def enqueue(self, delay: int, times: int) -> None:
        entry = Entry("q", self._new_id(), b"x", delay=delay)
        for attempt in range(times):
            assert self.workers[0].enqueue(entry) == (attempt == 0)

    @rule(worker=st.integers(0, 2), room=st.integers(1, 4), arrives=st.booleans())
    def fetch(self, worker: int, room: int, arrives: bool) -> None:  # noqa: FBT001
        fetched = {message_id for message_id, _ in self.workers[worker].fetch("q", room)}
        if arrives:
            self.hands[self.workers[worker].worker] |= fetched

    @rule(
        worker=st.integers(0, 2),
        how=st.sampled_from(["ack", "nack", "retry", "requeue"]),
        data=st.data(),
    )
    def settle(self, worker: int, how: str, data: st.DataObject) -> None:
        queues = self.workers[worker]
        if not (hand := self.hands[queues.worker]):
            return
        message_id = data.draw(st.sampled_from(sorted(hand)))
        hand.discard(message_id)
        if how == "requeue":
            queues.requeue([message_id])
        elif how == "retry":
            queues.enqueue(Entry("q", self._new_id(), b"x", delay=HOUR_MS, replaces=message_id))
            self.done.add(message_id)
        elif how == "ack":
            queues.ack("q", message_id)
            self.done.add(message_id)
        else:
            queues.nack("q", message_id)
            self.rejected.add(message_id)

    @rule(worker=st.integers(0, 2))
    def hand_back_orphans(self, worker: int) -> None:
        queues = self.workers[worker]
        held = tick(queues).held
        queues.requeue(
            [message_id for message_id in held if message_id not in self.hands[queues.worker]]
        )

    @rule(worker=st.integers(0, 2))
    def die(self, worker: int) -> None:
        dead = self.workers[worker]
        if self.client.zscore(f"{NAMESPACE}:alive:workers", dead.worker) is not None:
            silence(dead)
        self.workers[worker] = Queues(self.client, NAMESPACE)
        self.hands[self.workers[worker].worker] = set()
        tick(self.workers[worker])

    @precondition(lambda self: self.count)
    @rule()
    def hour_passes(self) -> None:
        for message_id in texts(self.client.zrange(f"{NAMESPACE}:q.DQ", 0, -1)):
            self.client.zadd(f"{NAMESPACE}:q.DQ", {message_id: 0})
        tick(self.workers[0])

    @invariant()
    def every_message_is_in_exactly_one_place(self) -> None:
        places: Counter[str] = Counter(waiting(self.workers[0]))
        places.update(texts(self.client.zrange(f"{NAMESPACE}:q.DQ", 0, -1)))
        for worker in self.workers:
            places.update(texts(self.client.hkeys(f"{NAMESPACE}:held:{worker.worker}")))
        assert (
            set(places)
            == {f"m{number}" for number in range(1, self.count + 1)} - self.done - self.rejected
        )
        assert set(places.values()) <= {1}
        assert self.workers[0].size("q") == len(places)
        assert self.client.zcard(f"{NAMESPACE}:q.XQ") == len(self.rejected)

    @invariant()
    def the_bell_rings_exactly_while_something_waits(self) -> None:
        assert bool(self.client.exists(self.workers[0].bell("q"))) == bool(waiting(self.workers[0]))


def test_every_message_is_in_exactly_one_place_whatever_happens(redis_client: redis.Redis) -> None:
    machine = type("Machine", (QueuesInAnyOrder,), {"client": redis_client})
    quick = settings(
        max_examples=60,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=quick)

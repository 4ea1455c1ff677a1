"""Tenants share the threads of a queue: all of them work for those that want them now."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Event as Flag
from uuid import uuid4

import dramatiq
import pytest
import redis

from shared.lanes.broker import LaneBroker
from shared.lanes.client import Lanes
from shared.lanes.scripts import APPEND
from shared.lanes.types import ClaimSequence
from shared.redis import keys
from shared.settings import EngineSettings
from tests.shared.lanes.harness import LaneHarness
from tests.shared.lanes.workers import blocked_consumers, eventually, working


def claim_all(harness: LaneHarness) -> Counter[str]:
    """Claim what may be claimed; return how many claims each tenant got, by its lanes' names."""
    return Counter(claim.lane[0] for claim in harness.claims())


def append_many(harness: LaneHarness, tenant: str, count: int) -> None:
    for number in range(count):
        harness.append(f"{tenant}{number}", tenant=tenant)


@pytest.mark.parametrize(
    ("threads", "alone", "beside"), [(2, 1, 1), (8, 6, 1), (32, 25, 5), (96, 76, 16)]
)
def test_a_tenant_alone_uses_four_fifths_and_leaves_some_for_the_next(
    harness: LaneHarness, threads: int, alone: int, beside: int
) -> None:
    """The tenant that comes next has threads at once, and so has a third."""
    harness.lanes.register("send", "process", threads)
    append_many(harness, "a", 100)
    assert claim_all(harness) == {"a": alone}
    append_many(harness, "b", 100)
    assert claim_all(harness)["b"] == beside
    append_many(harness, "c", 1)
    assert claim_all(harness) == {"c": 1}


def test_tenants_that_want_all_have_equal_shares(harness: LaneHarness) -> None:
    """Of 32 threads, two tenants have 14 each; 4 are free."""
    harness.lanes.register("send", "process", 32)
    for number in range(50):
        for tenant in "ab":
            harness.append(f"{tenant}{number}", tenant=tenant)
    assert claim_all(harness) == {"a": 14, "b": 14}


def test_a_share_shrinks_as_events_end_while_others_wait(harness: LaneHarness) -> None:
    """The first had 25 of 32; once each of its events has ended, the second has 12 at least."""
    harness.lanes.register("send", "process", 32)
    append_many(harness, "a", 100)
    held = list(harness.claims())
    append_many(harness, "b", 100)
    held += harness.claims()
    for claim in held:
        harness.conclude(claim)
        held_now = Counter(each.lane[0] for each in harness.claims())
        assert sum(held_now.values()) <= 2
    busy = harness.client.hgetall(keys.in_flight("send"))
    counts = {tenant.decode(): int(count) for tenant, count in busy.items()}
    assert min(counts.values()) >= 12
    assert counts["a"] + counts["b"] == 28


def test_more_tenants_than_threads_each_get_one_in_turn(harness: LaneHarness) -> None:
    harness.lanes.register("send", "process", 4)
    for tenant in "abcdefgh":
        append_many(harness, tenant, 2)
    claims = [harness.claim() for _ in range(4)]
    assert [claim.lane[0] for claim in claims] == list("abcd")
    for claim in claims:
        harness.conclude(claim)
    assert [harness.claim().lane[0] for _ in range(4)] == list("efgh")


def test_threads_that_join_are_used_and_those_that_vanished_are_not(harness: LaneHarness) -> None:
    """A process that stops says so; one that was killed counts until its time is over."""
    lanes = harness.lanes
    assert lanes.register("send", "one", 8) == 8
    append_many(harness, "a", 100)
    assert claim_all(harness)["a"] == 6
    assert lanes.register("send", "two", 8) == 16
    assert harness.bell() == 1
    assert claim_all(harness)["a"] == 6
    assert lanes.register("send", "two", 0) == 8
    assert lanes.register("send", "three", 8) == 16
    harness.client.hset(keys.fleet("send"), "three", "8 1")
    assert lanes.register("send", "one", 8) == 8
    assert harness.nothing_ready()


def test_without_a_registered_process_nothing_is_limited(harness: LaneHarness) -> None:
    append_many(harness, "a", 100)
    assert claim_all(harness)["a"] == 100


def test_a_claim_says_whether_another_would_get_an_event(harness: LaneHarness) -> None:
    """A tenant that has its share is nothing to come back for."""
    harness.lanes.register("send", "process", 3)
    append_many(harness, "a", 5)
    first = harness.lanes.exchange("send", ClaimSequence(), 1)
    assert (len(first.claims), first.more) == (1, True)
    second = harness.lanes.exchange("send", ClaimSequence(), 1)
    assert (len(second.claims), second.more) == (1, False)
    assert harness.bell() == 0


class Fleet:
    """Worker processes of one queue, each played by a broker in this process."""

    def __init__(self, client: redis.Redis, processes: int, threads: int) -> None:
        self.client = client
        self.lanes = Lanes(client, EngineSettings())
        self.in_work: list[str] = []
        """The tenants of the events that have begun."""
        self.over = Flag()
        self._threads = threads
        self._brokers = [LaneBroker(client) for _ in range(processes)]
        for broker in self._brokers:
            dramatiq.actor(broker=broker, actor_name="handle", queue_name="send")(self._handle)

    def _handle(self, tenant: str) -> None:
        self.in_work.append(tenant)
        if tenant != "quick":
            self.over.wait(30)

    @contextmanager
    def run(self) -> Iterator["Fleet"]:
        """Start all of them, and wait until they are idle."""
        with ExitStack() as running:
            for broker in self._brokers:
                running.enter_context(working(broker, threads=self._threads))
            eventually(lambda: blocked_consumers(self.client) >= len(self._brokers))
            try:
                yield self
            finally:
                self.over.set()

    def accept(self, counts: Mapping[str, int], *, tokens: int | None = None) -> None:
        """Append messages of tenants in one step, each in a lane of its own.

        With `tokens`, the bell holds no more than these afterwards.
        """
        codec = self._brokers[0].codec
        items = [
            codec.encode(make_message(tenant), 0)
            for tenant, count in counts.items()
            for _ in range(count)
        ]
        self.client.script_load(APPEND.source)
        pipe = self.client.pipeline(transaction=True)
        APPEND.add_to(pipe, [keys.PREFIX], self.lanes.append_arguments(items))
        if tokens is not None:
            pipe.ltrim(keys.bell("send"), 0, tokens - 1)
        pipe.execute()


def make_message(tenant: str) -> "dramatiq.Message[None]":
    return dramatiq.Message(
        queue_name="send",
        actor_name="handle",
        args=(tenant,),
        kwargs={},
        options={"tenant": tenant, "lane": uuid4().hex},
    )


@pytest.mark.parametrize(("processes", "in_work"), [(1, 25), (3, 76)])
def test_in_flight_grows_with_the_fleet(
    redis_client: redis.Redis, processes: int, in_work: int
) -> None:
    """A tenant that is alone: 25 events on 32 threads, 76 on three times as many."""
    with Fleet(redis_client, processes, 32).run() as fleet:
        fleet.accept({"slow": 200})
        eventually(lambda: len(fleet.in_work) == in_work)
        assert redis_client.hgetall(keys.in_flight("send")) == {b"slow": b"%d" % in_work}


def test_slow_tenants_leave_threads_to_the_next(redis_client: redis.Redis) -> None:
    """Two tenants wait for their answers: the events of a third begin all the same."""
    with Fleet(redis_client, 1, 32).run() as fleet:
        fleet.accept({"slow": 100})
        eventually(lambda: len(fleet.in_work) == 25)
        fleet.accept({"slower": 100})
        eventually(lambda: len(fleet.in_work) == 30)
        for number in range(1, 6):
            fleet.accept({"quick": 1})
            eventually(lambda: fleet.in_work.count("quick") == number)  # noqa: B023
        assert not fleet.over.is_set()


@pytest.mark.parametrize("tokens", [None, 1])
@pytest.mark.parametrize(("processes", "threads"), [(1, 32), (4, 8)])
def test_a_burst_occupies_every_thread_that_it_can_use(
    redis_client: redis.Redis, processes: int, threads: int, tokens: int | None
) -> None:
    """28 events of 4 tenants are all in work at once, and no sweeper runs here.

    A single token is enough: who gets all that it asked for wakes the next process.
    """
    with Fleet(redis_client, processes, threads).run() as fleet:
        fleet.accept(dict.fromkeys("abcd", 7), tokens=tokens)
        eventually(lambda: len(fleet.in_work) == 28)
        assert Counter(fleet.in_work) == dict.fromkeys("abcd", 7)

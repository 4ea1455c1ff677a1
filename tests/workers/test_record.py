"""The recorder: everything reaches Supabase or is set aside with a reason, whatever Supabase answers."""

import threading
import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.database.rows import Applied
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.outbox import Outbox
from workers import record
from workers.record import Recorder

NOTHING = Applied(changed=[], unknown_accounts=[])
Rows = Sequence[dict[str, Any]]


class Table:
    """A Supabase that refuses poisoned rows, all or nothing, and is away for a while where told."""

    def __init__(self, poisoned: Callable[[int], bool] = lambda _: False, away: int = 0) -> None:
        self.rows: list[int] = []
        self.calls = 0
        self._poisoned, self._away = poisoned, away

    def apply(self, rows: Rows) -> Applied:
        self.calls += 1
        if self.calls <= self._away:
            msg = "no answer"
            raise DatabaseUnavailableError(msg)
        if any(self._poisoned(row["n"]) for row in rows):
            msg = "no"
            raise DatabaseError(msg, sqlstate="22P02")
        self.rows += [row["n"] for row in rows]
        return NOTHING


def put(client: redis.Redis, count: int) -> None:
    for n in range(count):
        client.xadd("wpp:outbox", {"r": f'{{"n": {n}}}'})


def record_all(client: redis.Redis, table: Table) -> None:
    recorder = Recorder(Outbox(client, "r1"), table.apply, Flag())
    recorder.step(idle_s=0.01)  # makes the group, if there is none
    while recorder.step(idle_s=0.01):
        pass
    assert client.xlen("wpp:outbox") == 0, "something was left in the outbox"


def test_a_batch_is_one_call(redis_client: redis.Redis) -> None:
    """200 outcomes cost one round trip to Supabase."""
    put(redis_client, 200)
    table = Table()
    record_all(redis_client, table)
    assert table.rows == list(range(200))
    assert table.calls == 1


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(poison=st.sets(st.integers(0, 59), max_size=6))
def test_poisoned_rows_are_found_and_cost_only_themselves(redis_client: redis.Redis, poison: set[int]) -> None:
    """Every good row is recorded exactly once; every bad one is set aside with what Supabase said."""
    redis_client.flushall()
    put(redis_client, 60)
    table = Table(poisoned=lambda n: n in poison)
    record_all(redis_client, table)
    assert sorted(table.rows) == [n for n in range(60) if n not in poison]
    buried: Any = redis_client.xrange("wpp:outbox:dead")
    assert {fields[b"reason"] for _, fields in buried} <= {b"22P02: no"}
    assert len(buried) == len(poison)


def test_an_outage_is_waited_for(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Supabase is away the batch is kept and tried again; nothing is set aside."""
    monkeypatch.setattr(record, "CAP_S", 0.01)
    put(redis_client, 10)
    table = Table(away=5)
    record_all(redis_client, table)
    assert table.rows == list(range(10))
    assert redis_client.xlen("wpp:outbox:dead") == 0


def test_a_redis_that_cannot_write_is_waited_for(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica after a failover, a disk that fails: the recorder goes on when it can."""
    put(redis_client, 10)
    table, stopping = Table(), Flag()
    Outbox(redis_client, "r1").read(idle_s=0.01)
    redis_client.replicaof("127.0.0.1", "1")
    recorder = Recorder(Outbox(redis_client, "r1"), table.apply, stopping)
    monkeypatch.setattr("workers.record.random.uniform", lambda *_: 0.05)
    running = threading.Thread(target=recorder.run)
    running.start()
    time.sleep(0.3)
    assert running.is_alive()
    redis_client.replicaof("NO", "ONE")
    while redis_client.xlen("wpp:outbox"):
        time.sleep(0.01)
    stopping.set()
    running.join()
    assert table.rows == list(range(10))


def test_a_recorder_that_stops_during_an_outage_leaves_its_batch_to_others(redis_client: redis.Redis) -> None:
    """Told to stop, it neither loses nor hides what it could not write."""
    put(redis_client, 3)
    stopping = Flag()
    stopping.set()
    Recorder(Outbox(redis_client, "r1"), Table(away=99).apply, stopping).step(idle_s=0.01)
    Recorder(Outbox(redis_client, "r1"), Table(away=99).apply, stopping).step(idle_s=0.01)
    assert redis_client.xlen("wpp:outbox") == 3
    pending: Any = redis_client.xpending("wpp:outbox", "recorders")
    assert pending["pending"] == 3


def test_a_batch_that_takes_too_long_is_halved(redis_client: redis.Redis) -> None:
    """What Postgres cannot do in its time at once, it does in parts; nothing is tried for ever."""
    put(redis_client, 8)
    written: list[int] = []

    def slow(rows: Rows) -> Applied:
        if len(rows) > 2:
            msg = "canceling statement due to statement timeout"
            raise DatabaseUnavailableError(msg, sqlstate="57014")
        written.extend(row["n"] for row in rows)
        return NOTHING

    Recorder(Outbox(redis_client, "r1"), slow, Flag()).step(idle_s=0.01)
    Recorder(Outbox(redis_client, "r1"), slow, Flag()).step(idle_s=0.01)
    assert written == list(range(8))
    assert redis_client.xlen("wpp:outbox") == 0

"""The recorder: everything reaches Supabase or is set aside with a reason, whatever Supabase answers."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Flag
from typing import Any
from uuid import uuid4

import pytest
import redis
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import outbox
from shared.database import DeadLetterQuery
from shared.database.models import Applied, Refused
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome
from shared.redis import keys
from tests.pipeline.inbound.conftest import town
from tests.pipeline.inbound.inbound_pipeline import PEER, Town
from workers import recorder as record
from workers.recorder import Recorder

__all__ = ["town"]

NOTHING = Applied(changed=[])
Rows = Sequence[dict[str, Any]]


class Table:
    """A Supabase that refuses poisoned rows, and is away for a while where told."""

    def __init__(self, poisoned: Callable[[int], bool] = lambda _: False, away: int = 0) -> None:
        self.rows: list[int] = []
        self.refused: list[int] = []
        self.calls = 0
        self._poisoned, self._away = poisoned, away

    def apply(self, outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del all_wrong
        self.calls += 1
        if self.calls <= self._away:
            msg = "no answer"
            raise DatabaseUnavailableError(msg)
        poison = [index for index, row in enumerate(outcomes) if self._poisoned(row["n"])]
        self.refused += [outcomes[index]["n"] for index in poison]
        self.rows += [row["n"] for index, row in enumerate(outcomes) if index not in poison]
        return Applied(
            changed=[], refused=[Refused(row=index, why="22P02: no") for index in poison]
        )


def put(client: redis.Redis, count: int) -> None:
    for n in range(count):
        client.xadd(keys.OUTBOX, {"r": f'{{"n": {n}}}'})


def record_all(client: redis.Redis, table: Table) -> None:
    recorder = Recorder(Outbox(client, "r1"), table.apply, Flag())
    recorder.step(idle_s=0.01)  # makes the group, if there is none
    while recorder.step(idle_s=0.01):
        pass
    assert client.xlen(keys.OUTBOX) == 0, "something was left in the outbox"


def test_a_batch_is_one_call(redis_client: redis.Redis) -> None:
    """200 outcomes cost one round trip to Supabase."""
    put(redis_client, 200)
    table = Table()
    record_all(redis_client, table)
    assert table.rows == list(range(200))
    assert table.calls == 1


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(poison=st.sets(st.integers(0, 59), max_size=6))
def test_poisoned_rows_cost_only_themselves(redis_client: redis.Redis, poison: set[int]) -> None:
    """Every good row is recorded exactly once, every bad one is told of, all in one call."""
    redis_client.flushall()
    put(redis_client, 60)
    table = Table(poisoned=lambda n: n in poison)
    with structlog.testing.capture_logs() as logs:
        record_all(redis_client, table)
    assert sorted(table.rows) == [n for n in range(60) if n not in poison]
    assert sorted(table.refused) == sorted(poison)
    assert table.calls == 1
    assert [line["error"] for line in logs if line["event"] == "outcome.refused"] == [
        "22P02: no"
    ] * len(poison)


def test_an_outage_is_waited_for(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Supabase is away the batch is kept and tried again; nothing is set aside."""
    monkeypatch.setattr(record, "CAP_S", 0.01)
    put(redis_client, 10)
    table = Table(away=5)
    record_all(redis_client, table)
    assert table.rows == list(range(10))
    assert table.refused == []


def test_a_redis_that_cannot_write_is_waited_for(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica after a failover, a disk that fails: the recorder goes on when it can."""
    put(redis_client, 10)
    table, stopping = Table(), Flag()
    Outbox(redis_client, "r1").read(idle_s=0.01)
    redis_client.replicaof("127.0.0.1", "1")
    recorder = Recorder(Outbox(redis_client, "r1"), table.apply, stopping)
    monkeypatch.setattr("workers.recorder.random.uniform", lambda *_: 0.05)
    running = threading.Thread(target=recorder.run)
    running.start()
    time.sleep(0.3)
    assert running.is_alive()
    redis_client.replicaof("NO", "ONE")
    while redis_client.xlen(keys.OUTBOX):
        time.sleep(0.01)
    stopping.set()
    running.join()
    assert table.rows == list(range(10))


def test_a_recorder_that_stops_during_an_outage_leaves_its_batch_to_others(
    redis_client: redis.Redis,
) -> None:
    """Told to stop, it neither loses nor hides what it could not write."""
    put(redis_client, 3)
    stopping = Flag()
    stopping.set()
    Recorder(Outbox(redis_client, "r1"), Table(away=99).apply, stopping).step(idle_s=0.01)
    Recorder(Outbox(redis_client, "r1"), Table(away=99).apply, stopping).step(idle_s=0.01)
    assert redis_client.xlen(keys.OUTBOX) == 3
    pending: Any = redis_client.xpending(keys.OUTBOX, "recorders")
    assert pending["pending"] == 3


def slow(written: list[int], too_slow: Callable[[Rows], bool]) -> record.Apply:
    """Return a Supabase that does not get done with some batches in its time."""

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del all_wrong
        if too_slow(outcomes):
            msg = "canceling statement due to statement timeout"
            raise DatabaseUnavailableError(msg, sqlstate="57014")
        written.extend(row["n"] for row in outcomes)
        return NOTHING

    return apply


def test_a_batch_that_takes_too_long_is_halved(redis_client: redis.Redis) -> None:
    """What Postgres cannot do in its time at once, it does in parts; nothing is tried for ever."""
    put(redis_client, 8)
    written: list[int] = []
    recorder = Recorder(
        Outbox(redis_client, "r1"), slow(written, lambda rows: len(rows) > 2), Flag()
    )
    for _ in range(2):
        recorder.step(idle_s=0.01)
    assert written == list(range(8))
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_a_row_that_always_takes_too_long_waits_and_the_others_go_on(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays pending, comes back after a while, and is recorded when it can be."""
    put(redis_client, 8)
    written: list[int] = []
    locked = {5}
    apply = slow(written, lambda rows: any(row["n"] in locked for row in rows))
    recorder = Recorder(Outbox(redis_client, "r1"), apply, Flag())
    recorder.step(idle_s=0.01)
    assert recorder.step(idle_s=0.01) == 8
    assert written == [0, 1, 2, 3, 4, 6, 7]
    assert recorder.step(idle_s=0.01) == 0, "it comes back at a bounded pace"
    locked.clear()
    monkeypatch.setattr(outbox, "ABANDONED_MS", 0)
    assert recorder.step(idle_s=0.01) == 1
    assert written[-1] == 5
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_a_row_that_is_busy_stays_pending(redis_client: redis.Redis) -> None:
    """What Supabase names as locked by somebody else is not done."""
    put(redis_client, 3)
    recorder = Recorder(
        Outbox(redis_client, "r1"), lambda *_, **__: Applied(changed=[], busy=[1]), Flag()
    )
    recorder.step(idle_s=0.01)
    recorder.step(idle_s=0.01)
    left: Any = redis_client.xrange(keys.OUTBOX)
    ((_, fields),) = left
    assert json.loads(fields[b"r"]) == {"n": 1}


def test_what_supabase_cannot_even_read_becomes_a_dead_letter(redis_client: redis.Redis) -> None:
    """A gateway takes no body of that size: the row is found by halving, and its dead letter is written."""
    put(redis_client, 7)
    taken: list[dict[str, Any]] = []

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del all_wrong
        if any(row.get("n") == 4 for row in outcomes):
            msg = "too large"
            raise DatabaseError(msg, sqlstate="413")
        taken.extend(outcomes)
        return NOTHING

    recorder = Recorder(Outbox(redis_client, "r1"), apply, Flag())
    recorder.step(idle_s=0.01)
    recorder.step(idle_s=0.01)
    (letter,) = [row for row in taken if "n" not in row]
    assert (letter["type"], letter["kind"], letter["detail"], letter["event"]) == (
        *("dead_letter", "outcome", "too large"),
        {"n": 4},
    )
    assert sorted(row["n"] for row in taken if "n" in row) == [0, 1, 2, 3, 5, 6]
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_a_dead_letter_that_is_refused_too_costs_no_row(redis_client: redis.Redis) -> None:
    """As long as Supabase has it in no form, the outcome stays where it is."""
    put(redis_client, 1)

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del outcomes, all_wrong
        msg = "no"
        raise DatabaseError(msg)

    recorder = Recorder(Outbox(redis_client, "r1"), apply, Flag())
    recorder.step(idle_s=0.01)
    assert recorder.step(idle_s=0.01) == 1
    assert redis_client.xlen(keys.OUTBOX) == 1


def test_pauses_grow_and_never_pass_their_cap() -> None:
    """Full jitter: anything from nothing to a bound that doubles up to 10 s."""
    for attempts in range(1, 40):
        bound = min(10.0, 0.2 * 2**attempts)
        pauses = [record.back_off_s(attempts) for _ in range(300)]
        assert min(pauses) >= 0
        assert max(pauses) <= bound
        assert max(pauses) > bound * 0.9
        assert min(pauses) < bound * 0.1


def test_patience_ends_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason is waited for once; then its rows are to blame at once, until it has been forgotten."""
    shown = [1000.0, 1299.0, 1300.0, 4599.0, 4600.0, 4900.0, 4900.0]
    monkeypatch.setattr("time.monotonic", iter(shown).__next__)
    patience = record.Patience()
    assert [patience.is_over("no") for _ in shown[1:]] == [False, False, True, True, False, True]
    assert patience.is_over("another") is False


class Watched(Flag):
    """Told to stop at the tenth pause."""

    pauses = 0

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        self.pauses += 1
        return self.pauses >= 10


def test_a_database_that_stays_wrong_is_asked_no_more_often_for_it(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is thought of the rows: between two calls there is a pause, but for the one that blames the rows."""
    monkeypatch.setattr(record, "PATIENCE_S", 0)
    put(redis_client, 3)
    blamed: list[bool] = []

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del outcomes
        blamed.append(all_wrong)
        msg = "null value in column branch"
        raise DatabaseUnavailableError(msg, sqlstate="WPPDB")

    stopping = Watched()
    recorder = Recorder(Outbox(redis_client, "r1"), apply, stopping)
    recorder.step(idle_s=0.01)
    recorder.step(idle_s=0.01)
    assert blamed == [False] + [True] * 10
    assert stopping.pauses == 10
    assert redis_client.xlen(keys.OUTBOX) == 3


def a_message(town: Town, text: str = "Hello") -> MessageOutcome:
    return MessageOutcome(
        at=utc_now(),
        id=uuid4(),
        organization_id=town.organization,
        integration_id=town.integration,
        outgoing=True,
        phone=PEER,
        text=text,
        status="sent",
    )


@contextmanager
def altered(town: Town, alter: str, undo: str) -> Iterator[None]:
    """Let the CRM's tables be different for a while, as PostgREST and Postgres see them."""
    town.shop.sql(alter)
    try:
        yield
    finally:
        town.shop.sql(undo)


NEW_COLUMN = (
    "alter table chat_messages add column branch text not null",
    "alter table chat_messages drop column branch",
)
RENAMED = (
    "alter table chat_messages rename column file_type to mime",
    "alter table chat_messages rename column mime to file_type",
)


@pytest.mark.parametrize(("alter", "undo"), [NEW_COLUMN, RENAMED])
def test_a_column_that_the_crm_changed_costs_time_and_no_row(
    town: Town, monkeypatch: pytest.MonkeyPatch, alter: str, undo: str
) -> None:
    """The recorder says which column and what to do, loses nothing, and goes on when it was done."""
    monkeypatch.setattr(record, "CAP_S", 0.02)
    stopping = Flag()
    said: list[str] = []

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        try:
            return town.ctx.database.apply(outcomes, all_wrong=all_wrong)
        except DatabaseUnavailableError as error:
            said.append(str(error))
            if len(said) >= 3:
                stopping.set()
            raise

    with altered(town, alter, undo), structlog.testing.capture_logs() as logs:
        town.outbox.add([a_message(town)])
        recorder = Recorder(town.outbox, apply, stopping)
        recorder.step(idle_s=0.01)
        recorder.step(idle_s=0.01)
    assert ("branch" in said[0]) or ("file_type" in said[0])
    (told, *_) = [line for line in logs if line["event"] == "supabase.not_usable"]
    assert told["log_level"] == "error"
    assert told["to_do"] in str(town.outbox.trouble)
    assert said[0] in str(town.outbox.trouble)
    assert len(town.outbox) == 1
    monkeypatch.setattr(outbox, "ABANDONED_MS", 0)
    town.record()
    assert [row["message_text"] for row in town.messages()] == ["Hello"]
    assert town.ctx.database.dead_letters(DeadLetterQuery()) == []


def test_rows_that_are_all_refused_for_one_reason_are_kept_before_they_are_buried(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may be wrong; after a while they are taken to be, and are dead letters that can be replayed."""
    monkeypatch.setattr(record, "PATIENCE_S", 0.2)
    monkeypatch.setattr(record, "CAP_S", 0.02)
    rule = (
        "alter table chat_messages add constraint polite check (message_text <> 'damn') not valid"
    )
    with altered(town, rule, "alter table chat_messages drop constraint polite"):
        town.outbox.add([a_message(town, "damn") for _ in range(3)])
        with structlog.testing.capture_logs() as logs:
            town.record()
    events = [line["event"] for line in logs]
    assert events.index("supabase.not_usable") < events.index("outcome.refused")
    assert len(town.ctx.database.dead_letters(DeadLetterQuery(kind="outcome"))) == 3

"""The recorder brings each outcome to Supabase or to a dead letter, after any answer."""

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

from shared.database import DeadLetterQuery
from shared.database.models import Applied, Refused
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome
from shared.redis import keys
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.recorder import Recorder
from workers.retry import Backoff, RejectionWindow

__all__ = ["pipeline"]

NOTHING = Applied(changed=[])
QUICK = Backoff(base_s=0.01, cap_s=0.02, floor=0)
Rows = Sequence[dict[str, Any]]


class Table:
    """A Supabase that refuses poisoned rows and fails its first `outages` calls."""

    def __init__(self, poisoned: Callable[[int], bool] = lambda _: False, outages: int = 0) -> None:
        self.rows: list[int] = []
        self.refused: list[int] = []
        self.calls = 0
        self._poisoned = poisoned
        self._outages = outages

    def apply(self, outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del all_wrong
        self.calls += 1
        if self.calls <= self._outages:
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
    recorder = Recorder(Outbox(client, "r1"), table.apply, Flag(), supabase_backoff=QUICK)
    recorder.step(idle_s=0.01)  # creates the consumer group where there is none
    while recorder.step(idle_s=0.01):
        pass
    assert client.xlen(keys.OUTBOX) == 0, "the outbox is not empty"


def test_a_batch_is_one_call(redis_client: redis.Redis) -> None:
    """200 outcomes cost a single round trip to Supabase."""
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
    """Each good row is recorded exactly once, each bad row is logged, all in a single call."""
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


def test_a_batch_is_retried_during_an_outage(redis_client: redis.Redis) -> None:
    """No outcome becomes a dead letter because Supabase is down."""
    put(redis_client, 10)
    table = Table(outages=5)
    record_all(redis_client, table)
    assert table.rows == list(range(10))
    assert table.refused == []


def test_the_recorder_waits_for_a_redis_that_cannot_write(redis_client: redis.Redis) -> None:
    """After a failover or a disk error, recording goes on as soon as Redis takes writes."""
    put(redis_client, 10)
    table, stopping = Table(), Flag()
    Outbox(redis_client, "r1").read(idle_s=0.01)
    redis_client.replicaof("127.0.0.1", "1")
    recorder = Recorder(Outbox(redis_client, "r1"), table.apply, stopping, redis_backoff=QUICK)
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
    """The entries stay pending in the outbox."""
    put(redis_client, 3)
    stopping = Flag()
    stopping.set()
    Recorder(Outbox(redis_client, "r1"), Table(outages=99).apply, stopping).step(idle_s=0.01)
    Recorder(Outbox(redis_client, "r1"), Table(outages=99).apply, stopping).step(idle_s=0.01)
    assert redis_client.xlen(keys.OUTBOX) == 3
    pending: Any = redis_client.xpending(keys.OUTBOX, "recorders")
    assert pending["pending"] == 3


def slow(written: list[int], too_slow: Callable[[Rows], bool]) -> Callable[..., Applied]:
    """Return an `apply` that runs into the statement timeout for some batches."""

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del all_wrong
        if too_slow(outcomes):
            msg = "canceling statement due to statement timeout"
            raise DatabaseUnavailableError(msg, sqlstate="57014")
        written.extend(row["n"] for row in outcomes)
        return NOTHING

    return apply


def test_a_batch_that_takes_too_long_is_halved(redis_client: redis.Redis) -> None:
    """What Postgres cannot do within its time limit at once, it does in parts."""
    put(redis_client, 8)
    written: list[int] = []
    recorder = Recorder(
        Outbox(redis_client, "r1"), slow(written, lambda rows: len(rows) > 2), Flag()
    )
    for _ in range(2):
        recorder.step(idle_s=0.01)
    assert written == list(range(8))
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_a_row_that_always_takes_too_long_holds_up_no_other_row(
    redis_client: redis.Redis,
) -> None:
    """It stays pending, is read again after `ABANDONED_MS`, and recorded once that works."""
    put(redis_client, 8)
    written: list[int] = []
    locked = {5}
    apply = slow(written, lambda rows: any(row["n"] in locked for row in rows))
    outbox = Outbox(redis_client, "r1")
    recorder = Recorder(outbox, apply, Flag())
    recorder.step(idle_s=0.01)
    assert recorder.step(idle_s=0.01) == 8
    assert written == [0, 1, 2, 3, 4, 6, 7]
    assert recorder.step(idle_s=0.01) == 0, "the row was read again at once"
    locked.clear()
    outbox.abandoned_ms = 0
    assert recorder.step(idle_s=0.01) == 1
    assert written[-1] == 5
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_a_row_that_is_busy_stays_pending(redis_client: redis.Redis) -> None:
    """A row that Supabase reports as locked is tried again later."""
    put(redis_client, 3)
    recorder = Recorder(
        Outbox(redis_client, "r1"), lambda *_, **__: Applied(changed=[], busy=[1]), Flag()
    )
    recorder.step(idle_s=0.01)
    recorder.step(idle_s=0.01)
    left: Any = redis_client.xrange(keys.OUTBOX)
    ((_, fields),) = left
    assert json.loads(fields[b"r"]) == {"n": 1}


def test_a_row_that_the_gateway_refuses_becomes_a_dead_letter(redis_client: redis.Redis) -> None:
    """Halving the batch finds the row that is too large for the gateway."""
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


def test_an_outcome_whose_dead_letter_is_refused_stays_pending(redis_client: redis.Redis) -> None:
    """An outcome leaves the outbox only when Supabase holds it or its dead letter."""
    put(redis_client, 1)

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del outcomes, all_wrong
        msg = "no"
        raise DatabaseError(msg)

    recorder = Recorder(Outbox(redis_client, "r1"), apply, Flag())
    recorder.step(idle_s=0.01)
    assert recorder.step(idle_s=0.01) == 1
    assert redis_client.xlen(keys.OUTBOX) == 1


class StopAtTenthPause(Flag):
    """A stop flag that counts its waits, skips them, and is set at the tenth."""

    pauses = 0

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        self.pauses += 1
        if self.pauses >= 10:
            self.set()
        return self.is_set()


def test_a_database_that_stays_broken_is_called_with_pauses(redis_client: redis.Redis) -> None:
    """Each call follows a pause, except the first that blames the rows."""
    put(redis_client, 3)
    blamed: list[bool] = []

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        del outcomes
        blamed.append(all_wrong)
        msg = "null value in column branch"
        raise DatabaseUnavailableError(msg, sqlstate="WPPDB")

    stopping = StopAtTenthPause()
    recorder = Recorder(
        Outbox(redis_client, "r1"), apply, stopping, rejection_window=RejectionWindow(window_s=0)
    )
    recorder.step(idle_s=0.01)
    recorder.step(idle_s=0.01)
    assert blamed == [False] + [True] * 10
    assert stopping.pauses == 10
    assert redis_client.xlen(keys.OUTBOX) == 3


def a_message(pipeline: InboundPipeline, text: str = "Hello") -> MessageOutcome:
    return MessageOutcome(
        at=utc_now(),
        id=uuid4(),
        organization_id=pipeline.organization,
        integration_id=pipeline.integration,
        outgoing=True,
        phone=PEER,
        text=text,
        status="sent",
    )


@contextmanager
def altered(pipeline: InboundPipeline, alter: str, undo: str) -> Iterator[None]:
    """Run `alter` on the CRM's tables, and `undo` after the block."""
    pipeline.env.sql(alter)
    try:
        yield
    finally:
        pipeline.env.sql(undo)


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
    pipeline: InboundPipeline, alter: str, undo: str
) -> None:
    """The recorder names the column and the repair, and records the row after the repair."""
    stopping = Flag()
    errors: list[str] = []

    def apply(outcomes: Rows, /, *, all_wrong: bool = False) -> Applied:
        try:
            return pipeline.ctx.database.outcomes.apply(outcomes, all_wrong=all_wrong)
        except DatabaseUnavailableError as error:
            errors.append(str(error))
            if len(errors) >= 3:
                stopping.set()
            raise

    with altered(pipeline, alter, undo), structlog.testing.capture_logs() as logs:
        pipeline.outbox.add([a_message(pipeline)])
        recorder = Recorder(pipeline.outbox, apply, stopping, supabase_backoff=QUICK)
        recorder.step(idle_s=0.01)
        recorder.step(idle_s=0.01)
    assert ("branch" in errors[0]) or ("file_type" in errors[0])
    (line, *_) = [line for line in logs if line["event"] == "supabase.unusable"]
    assert line["log_level"] == "error"
    assert line["action"] in str(pipeline.outbox.blocked_reason)
    assert errors[0] in str(pipeline.outbox.blocked_reason)
    assert len(pipeline.outbox) == 1
    pipeline.outbox.abandoned_ms = 0
    pipeline.record()
    assert [row["message_text"] for row in pipeline.messages()] == ["Hello"]
    assert pipeline.ctx.database.dead_letters.find(DeadLetterQuery()) == []


def test_rows_that_are_all_rejected_for_one_reason_become_dead_letters_after_the_window(
    pipeline: InboundPipeline,
) -> None:
    """The database may be at fault, so the rows are retried first."""
    window = RejectionWindow(window_s=0.2)
    recorder = Recorder(
        pipeline.outbox,
        pipeline.ctx.database.outcomes.apply,
        Flag(),
        supabase_backoff=QUICK,
        rejection_window=window,
    )
    rule = (
        "alter table chat_messages add constraint polite check (message_text <> 'damn') not valid"
    )
    with altered(pipeline, rule, "alter table chat_messages drop constraint polite"):
        pipeline.outbox.add([a_message(pipeline, "damn") for _ in range(3)])
        with structlog.testing.capture_logs() as logs:
            while len(pipeline.outbox):
                recorder.step(idle_s=0.01)
    events = [line["event"] for line in logs]
    assert events.index("supabase.unusable") < events.index("outcome.refused")
    assert len(pipeline.ctx.database.dead_letters.find(DeadLetterQuery(kind="outcome"))) == 3

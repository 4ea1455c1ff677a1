"""The recorder brings each outcome to Supabase or to a dead letter, after any answer."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from typing import Any
from uuid import uuid4

import pytest
import redis
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import routing
from shared.database import DeadLetterQuery
from shared.database.models import Applied, Refused
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import Message, SendEvent, utc_now
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome, SetAside
from shared.redis import keys
from shared.route_cache import RouteCache
from tests.draining import drain, parse_first
from tests.fixtures.waiting import wait_until
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.recorder import Recorder
from workers.retry import Backoff
from workers.send.handler import dead_letter_send, handle_send
from workers.set_aside import SetAsideRetrier

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

    def apply(self, outcomes: Rows) -> Applied:
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

    def put_aside(self, outcomes: Rows, code: str, why: str) -> list[SetAside]:
        raise NotImplementedError


@dataclass
class Writer:
    """A writer of outcomes with a given `apply`; remembers what is set aside."""

    apply: Callable[[Rows], Applied]
    aside: list[dict[str, Any]] = field(default_factory=list)

    def put_aside(self, outcomes: Rows, code: str, why: str) -> list[SetAside]:
        self.aside += outcomes
        return [SetAside(owner="X", code=code, why=why, retry_at=utc_now())]


def put(client: redis.Redis, count: int) -> None:
    Outbox(client).add_rows([{"n": n} for n in range(count)])


def record_all(client: redis.Redis, table: Table) -> None:
    recorder = Recorder(Outbox(client), table, Flag(), supabase_backoff=QUICK)
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
    Outbox(redis_client).read(idle_s=0.01)
    redis_client.replicaof("127.0.0.1", "1")
    recorder = Recorder(Outbox(redis_client), table, stopping, redis_backoff=QUICK)
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
    Recorder(Outbox(redis_client), Table(outages=99), stopping).step(idle_s=0.01)
    Recorder(Outbox(redis_client), Table(outages=99), stopping).step(idle_s=0.01)
    assert redis_client.xlen(keys.OUTBOX) == 3
    assert redis_client.zcard(keys.OUTBOX_TAKEN) == 3


def test_an_organization_that_takes_too_long_is_set_aside(redis_client: redis.Redis) -> None:
    """The remaining organizations of its batch are recorded; nothing stays in the outbox."""
    for n, owner in enumerate("abcab"):
        redis_client.xadd(keys.OUTBOX, {"r": json.dumps({"n": n, "organization_id": owner})})
    written: list[int] = []

    def apply(outcomes: Rows) -> Applied:
        if any(row["organization_id"] == "b" for row in outcomes):
            msg = "canceling statement due to statement timeout"
            raise DatabaseUnavailableError(msg, sqlstate="57014")
        written.extend(row["n"] for row in outcomes)
        return NOTHING

    woken: list[bool] = []
    writer = Writer(apply)
    recorder = Recorder(
        Outbox(redis_client), writer, Flag(), on_set_aside=lambda: woken.append(True)
    )
    with structlog.testing.capture_logs() as logs:
        assert recorder.step(idle_s=0.01) == 5
    assert sorted(written) == [0, 2, 3]
    assert [row["n"] for row in writer.aside] == [1, 4]
    assert woken == [True]
    assert redis_client.xlen(keys.OUTBOX) == 0
    (line,) = [line for line in logs if line["event"] == "organization.set_aside"]
    assert "take too long" in line["action"]
    assert line["until"]


def test_outcomes_that_cannot_be_set_aside_stay_pending(redis_client: redis.Redis) -> None:
    """They are read again after `ABANDONED_MS`."""
    put(redis_client, 2)

    class Slow(Table):
        def apply(self, outcomes: Rows) -> Applied:
            del outcomes
            msg = "canceling statement due to statement timeout"
            raise DatabaseUnavailableError(msg, sqlstate="57014")

        def put_aside(self, outcomes: Rows, code: str, why: str) -> list[SetAside]:
            del outcomes, code
            raise DatabaseUnavailableError(why)

    recorder = Recorder(Outbox(redis_client), Slow(), Flag())
    assert recorder.step(idle_s=0.01) == 2
    assert redis_client.xlen(keys.OUTBOX) == 2


def test_a_row_that_the_gateway_refuses_becomes_a_dead_letter(redis_client: redis.Redis) -> None:
    """Halving the batch finds the row that is too large for the gateway."""
    put(redis_client, 7)
    taken: list[dict[str, Any]] = []

    def apply(outcomes: Rows) -> Applied:
        if any(row.get("n") == 4 for row in outcomes):
            msg = "too large"
            raise DatabaseError(msg, sqlstate="413")
        taken.extend(outcomes)
        return NOTHING

    recorder = Recorder(Outbox(redis_client), Writer(apply), Flag())
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

    def apply(outcomes: Rows) -> Applied:
        del outcomes
        msg = "no"
        raise DatabaseError(msg)

    recorder = Recorder(Outbox(redis_client), Writer(apply), Flag())
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


def test_a_database_that_stays_away_is_called_with_pauses(redis_client: redis.Redis) -> None:
    """Each call but the first follows a pause, and nothing is lost."""
    put(redis_client, 3)
    table = Table(outages=99)
    stopping = StopAtTenthPause()
    recorder = Recorder(Outbox(redis_client), table, stopping)
    recorder.step(idle_s=0.01)
    assert table.calls == 10
    assert stopping.pauses == 10
    assert redis_client.xlen(keys.OUTBOX) == 3


def test_the_reason_of_an_outage_is_withdrawn_when_it_is_over(redis_client: redis.Redis) -> None:
    """`wpp lanes` shows the last failure at once, and no failure after the first success."""
    put(redis_client, 1)
    seen: list[str | None] = []
    outbox = Outbox(redis_client)
    answers = ["permission denied", "no answer", None]

    def apply(outcomes: Rows) -> Applied:
        del outcomes
        seen.append(outbox.blocked_reason)
        if answer := answers.pop(0):
            raise DatabaseUnavailableError(
                answer, sqlstate="42501" if answer != "no answer" else None
            )
        return NOTHING

    recorder = Recorder(outbox, Writer(apply), Flag(), supabase_backoff=QUICK)
    recorder.step(idle_s=0.01)
    assert seen[0] is None
    assert str(seen[1]).startswith("permission denied: apply supabase/migrations")
    assert seen[2] == "no answer"
    assert outbox.blocked_reason is None


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
    """The log names the column and the repair, and the row is recorded after the repair."""
    outcomes = pipeline.ctx.database.outcomes
    retrier = SetAsideRetrier(pipeline.outbox, outcomes, Flag())
    with altered(pipeline, alter, undo), structlog.testing.capture_logs() as logs:
        pipeline.outbox.add([a_message(pipeline)])
        pipeline.record()
        retrier.step()
        (aside,) = pipeline.outbox.set_aside
    (line,) = [line for line in logs if line["event"] == "organization.set_aside"]
    assert ("branch" in line["error"]) or ("file_type" in line["error"])
    assert ("default" in line["action"]) or ("supabase/migrations" in line["action"])
    assert (aside.owner, aside.why, aside.waiting) == (
        str(pipeline.organization),
        line["error"],
        1,
    )
    assert pipeline.messages() == []
    with structlog.testing.capture_logs() as logs:
        wait_until(lambda: retrier.step() and pipeline.messages(), "the row")
        retrier.step()
    assert [row["message_text"] for row in pipeline.messages()] == ["Hello"]
    assert "organization.resumed" in [line["event"] for line in logs]
    assert pipeline.outbox.set_aside == []
    assert pipeline.ctx.database.dead_letters.find(DeadLetterQuery()) == []


def test_rows_that_are_all_rejected_for_one_reason_become_dead_letters_after_five_minutes(
    pipeline: InboundPipeline,
) -> None:
    """The rule may be wrong, so the rows are retried first."""
    retrier = SetAsideRetrier(pipeline.outbox, pipeline.ctx.database.outcomes, Flag())

    def letters() -> int:
        return len(pipeline.ctx.database.dead_letters.find(DeadLetterQuery(kind="outcome")))

    rule = (
        "alter table chat_messages add constraint polite check (message_text <> 'damn') not valid"
    )
    with altered(pipeline, rule, "alter table chat_messages drop constraint polite"):
        pipeline.outbox.add([a_message(pipeline, "damn") for _ in range(3)])
        pipeline.record()
        retrier.step()
        assert letters() == 0
        pipeline.env.sql(
            "update wpp.set_aside set since = since - interval '6 minutes', retry_at = now()"
        )
        with structlog.testing.capture_logs() as logs:
            wait_until(lambda: retrier.step() and letters() == 3, "the dead letters")
    assert [line["event"] for line in logs].count("outcome.refused") == 3


def test_the_numbers_of_a_deleted_organization_stop(pipeline: InboundPipeline) -> None:
    """Its waiting messages end as dead letters without a call, and no other organization notices.

    The recorder meets the deletion first: the clock would delete the route up to a minute later.
    """
    ctx, organization, integration = pipeline.ctx, pipeline.organization, pipeline.integration
    other = pipeline.env.create_organization()
    assert ctx.route_cache.find_route(integration)
    for phone in ("79990001122", "79990001133"):
        text = Message(to=phone, text="Hello")
        ctx.lanes.append(routing.route_send(organization, integration, text))
    pipeline.env.sql("delete from organizations where id = %s", organization)
    routes = RouteCache(pipeline.redis, ctx.database)
    message = a_message(pipeline).model_copy(
        update={"organization_id": other, "integration_id": uuid4()}
    )
    pipeline.outbox.add([message])
    recorder = Recorder(pipeline.outbox, ctx.database.outcomes, Flag())
    recorder.on_deleted = routes.delete_route
    with structlog.testing.capture_logs() as logs:
        while len(pipeline.outbox):
            recorder.step(idle_s=0.01)
        pipeline.outbox.add([a_message(pipeline)])
        recorder.step(idle_s=0.01)
    told = [line for line in logs if line["event"] == "organization.deleted"]
    assert told == [
        {
            "event": "organization.deleted",
            "log_level": "warning",
            "organization_id": str(organization),
            "integration_id": str(integration),
        }
    ], "once, also when more of its outcomes follow"
    assert routes.find_route(integration) is None
    assert ctx.database.messages.get(message.id, other)

    ctx = replace(ctx, route_cache=routes)  # that of a worker that remembers no route
    drain(
        ctx.lanes,
        "send",
        lambda claim: parse_first(SendEvent, handle_send)(claim, ctx),
        parse_first(SendEvent, dead_letter_send),
    )
    pipeline.record()
    letters = ctx.database.dead_letters.find(DeadLetterQuery(kind="send"))
    assert [letter.reason for letter in letters] == ["not_found"] * 2
    assert not pipeline.redis.hlen(keys.waiting("send"))


def test_outcomes_that_supabase_does_not_know_yet_wait_for_its_migrations(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder of the new version that runs before them leaves what they bring; the rest goes."""
    monkeypatch.setattr("workers.recorder.ASK_VERSION_EVERY_S", 0)
    Outbox(redis_client).add_rows([{"n": 0}, {"n": 1, "v": 2}, {"n": 2}, {"n": 3, "v": 3}])
    table = Table()
    recorder = Recorder(Outbox(redis_client), table, Flag(), supabase_backoff=QUICK)
    recorder.newest = 2
    recorder.find_version = lambda: 1
    recorder.step(idle_s=0.01)
    assert (table.rows, Outbox(redis_client).left) == ([0, 2], 2)
    recorder.find_version = lambda: 3
    recorder.step(idle_s=0.01)
    assert (table.rows, Outbox(redis_client).left) == ([0, 2, 1], 1), "3 is for its successor"


def test_a_supabase_that_is_away_changes_no_version(redis_client: redis.Redis) -> None:
    """Until it has answered once, nothing newer is carried to it."""

    def fail() -> int:
        msg = "no answer"
        raise DatabaseUnavailableError(msg)

    Outbox(redis_client).add_rows([{"n": 1, "v": 2}])
    recorder = Recorder(Outbox(redis_client), Table(), Flag(), supabase_backoff=QUICK)
    recorder.newest = 2
    recorder.find_version = fail
    recorder.step(idle_s=0.01)
    assert Outbox(redis_client).left == 1

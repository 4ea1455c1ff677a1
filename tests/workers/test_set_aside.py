"""The retrier retries what is set aside when it is due, reports it, and survives outages."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import redis
import structlog

from shared.database.models import ClaimedOutcomes, Retried, SetAsideClaim
from shared.errors import DatabaseUnavailableError
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome, SetAside
from shared.redis import keys
from tests.fixtures.waiting import Stopwatch, wait_until
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.recorder import Recorder
from workers.set_aside import IDLE_S, SetAsideRetrier, find_common_reasons

__all__ = ["pipeline"]


def aside(owner: str, why: str = "no", code: str = "P0001") -> SetAside:
    return SetAside(owner=owner, code=code, why=why, retry_at=utc_now(), waiting=2)


class Claims:
    """Gives out claims, and raises for None."""

    def __init__(self, *claims: SetAsideClaim | None) -> None:
        self.claims = list(claims)
        self.applied: list[str] = []

    def claim_set_aside(self) -> SetAsideClaim:
        claim = self.claims.pop(0) if self.claims else claimed()
        if claim is None:
            msg = "no answer"
            raise DatabaseUnavailableError(msg)
        return claim

    def apply_set_aside(self, claimed: ClaimedOutcomes) -> Retried:
        self.applied.append(claimed.owner)
        return Retried(changed=[], refused=["22P02: no"], applied=1, left=0)


def claimed(
    owner: str | None = None, due_in_s: float | None = None, set_aside: Sequence[SetAside] = ()
) -> SetAsideClaim:
    due = ClaimedOutcomes(owner=owner, rows=[1]) if owner else None
    return SetAsideClaim(claimed=due, set_aside=set_aside, due_in_s=due_in_s)


def test_a_step_retries_who_is_due_and_says_when_to_look_again(redis_client: redis.Redis) -> None:
    """At once while work is left, then at the next time that is due, else after half a minute."""
    claims = Claims(
        claimed("A", 1, [aside("A")]),
        claimed(None, 0.4, [aside("A")]),
        claimed(None, 99),
        claimed(),
    )
    retrier = SetAsideRetrier(Outbox(redis_client), claims, threading.Event())
    with structlog.testing.capture_logs() as logs:
        pauses = [retrier.step() for _ in range(4)]
    assert pauses == [0, 0.4, IDLE_S, IDLE_S]
    assert claims.applied == ["A"]
    assert [line["event"] for line in logs] == [
        "outcome.refused",
        "organization.retried",
        "organization.resumed",
    ]


def test_what_is_set_aside_is_published(redis_client: redis.Redis) -> None:
    """`wpp lanes` and the metrics read it; it does not outlive the recorders for long."""
    outbox = Outbox(redis_client)
    retrier = SetAsideRetrier(
        outbox, Claims(claimed(None, 9, [aside("A")]), claimed()), threading.Event()
    )
    retrier.step()
    assert [(each.owner, each.waiting) for each in outbox.set_aside] == [("A", 2)]
    assert 0 < redis_client.ttl(keys.SET_ASIDE) <= 90
    retrier.step()
    assert outbox.set_aside == []


def test_a_reason_that_concerns_several_organizations_is_an_error(
    redis_client: redis.Redis,
) -> None:
    """It is logged once, with the advice. Locks and reasons of a single organization are not."""
    common = [
        *(aside(name, "column x does not exist", "42703") for name in "AB"),
        *(aside(name, "lock timeout", "55P03") for name in "CD"),
        aside("E"),
    ]
    assert list(find_common_reasons(common)) == ["column x does not exist"]
    retrier = SetAsideRetrier(
        Outbox(redis_client), Claims(*[claimed(None, 9, common)] * 2), threading.Event()
    )
    with structlog.testing.capture_logs() as logs:
        retrier.step()
        retrier.step()
    (line,) = logs
    assert (line["event"], line["error"]) == ("supabase.unusable", "column x does not exist")
    assert "supabase/migrations" in line["action"]


def test_the_retrier_goes_on_after_an_outage_and_stops_at_once(redis_client: redis.Redis) -> None:
    stopping = threading.Event()
    claims = Claims(None, claimed("A", 9, [aside("A")]), claimed())
    retrier = SetAsideRetrier(Outbox(redis_client), claims, stopping)
    thread = threading.Thread(target=retrier.run)
    thread.start()
    wait_until(lambda: claims.applied == ["A"], "the retry after the outage")
    wait_until(lambda: not claims.claims, "the pause")
    stopping.set()
    retrier.wake()
    thread.join(20)
    assert not thread.is_alive()


@contextmanager
def running(
    stopping: threading.Event, retrier: SetAsideRetrier, recorder: Recorder
) -> Iterator[None]:
    """Run both as the process of the recorder does."""
    threads = [threading.Thread(target=work.run) for work in (retrier, recorder)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        retrier.wake()
        for thread in threads:
            thread.join(15)


def message(organization: UUID, integration: UUID, phone: str = PEER) -> MessageOutcome:
    return MessageOutcome(
        at=utc_now() + timedelta(seconds=1),
        id=uuid4(),
        organization_id=organization,
        integration_id=integration,
        outgoing=True,
        phone=phone,
        text="Hello",
        status="sent",
    )


def test_an_organization_that_the_crm_has_locked_delays_no_other(
    pipeline: InboundPipeline, database_url: str
) -> None:
    """Its clients are locked for 4 s, and 400 of its messages wait.

    The other organization's row is stored within 2 s, over and over, and the rows of the first are
    stored soon after the lock has ended.
    """
    other = pipeline.env.create_organization()
    pipeline.outbox.add([message(pipeline.organization, pipeline.integration)])
    pipeline.record()
    stopping = threading.Event()
    outcomes = pipeline.ctx.database.outcomes
    retrier = SetAsideRetrier(Outbox(pipeline.redis), outcomes, stopping)
    recorder = Recorder(Outbox(pipeline.redis), outcomes, stopping, on_set_aside=retrier.wake)

    def count(organization: UUID) -> int:
        (row,) = pipeline.env.sql(
            "select count(*) as n from chat_messages where organization_id = %s", organization
        )
        return int(row["n"])

    took: list[float] = []
    with (
        psycopg.connect(database_url) as crm,
        running(stopping, retrier, recorder),
        Stopwatch() as watch,
    ):
        crm.execute(
            "select from clients where organization_id = %s for update", (pipeline.organization,)
        )
        until = time.monotonic() + 4
        while time.monotonic() < until:
            pipeline.outbox.add(
                [message(pipeline.organization, pipeline.integration) for _ in range(40)]
            )
            before, began = count(other), watch.seconds
            pipeline.outbox.add([message(other, uuid4(), f"7999{len(took):07}")])
            wait_until(lambda: count(other) > before, "the row of the other", poll_s=0.05)  # noqa: B023
            took.append(watch.seconds - began)
        crm.rollback()
        total = 1 + 40 * len(took)
        wait_until(lambda: count(pipeline.organization) == total, "the locked rows", 60)
        wait_until(lambda: not pipeline.outbox.set_aside, "the end of the set-aside", 60)
    assert max(took) < 2

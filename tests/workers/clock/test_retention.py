"""What is kept for reference goes when its time is over, and nothing else."""

import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

import httpx
import pytest

from sandbox.supabase.project import Supabase
from shared.database import Database, DeadLetterQuery
from shared.events import utc_now
from shared.outcomes import MessageOutcome
from shared.settings import RetentionSettings
from tests.fixtures.provision_env import supabase_settings
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.clock import retention
from workers.dead_letters import Replayer

__all__ = ["pipeline"]

SETTINGS = RetentionSettings(wpp_log_days=30, wpp_parked_days=7)


def counts(pipeline: InboundPipeline) -> tuple[int, int, int]:
    """Return how many raw logs, parked outcomes and dead letters there are."""
    tables = ("wpp_webhook_log", "wpp.parked_outcomes", "wpp_dead_letters")
    logs, parked, dead = (
        pipeline.env.sql(f"select count(*) from {table}")[0]["count"]  # noqa: S608
        for table in tables
    )
    return logs, parked, dead


@pytest.fixture
def untidy(pipeline: InboundPipeline) -> InboundPipeline:
    """Return a town with one raw log, and one status whose message never came."""
    pipeline.post({"type": "delivery", "messageId": "task_77", "status": "read"})
    pipeline.settle()
    assert counts(pipeline) == (1, 1, 0)
    return pipeline


def kept(pipeline: InboundPipeline, days: float) -> dict[str, int]:
    """Keep house as it is kept that many days from now."""
    return retention.prune(
        pipeline.ctx.database, SETTINGS, utc_now() + timedelta(days=days), Flag()
    )


def test_what_is_young_stays(untidy: InboundPipeline) -> None:
    assert kept(untidy, 6.9) == {"unparked": 0, "expired": 0, "pruned": 0}
    assert counts(untidy) == (1, 1, 0)


def test_a_status_whose_message_never_came_ends_as_a_dead_letter(untidy: InboundPipeline) -> None:
    """It is in view, with its reason."""
    assert kept(untidy, 7.1)["expired"] == 1
    assert counts(untidy) == (1, 0, 1)
    assert untidy.env.sql("select reason from wpp_dead_letters") == [
        {"reason": "message_never_came"}
    ]


def replayed(pipeline: InboundPipeline) -> tuple[int, int]:
    client, ctx = pipeline.env.client, pipeline.ctx
    letters = ctx.database.dead_letters.iterate(DeadLetterQuery(kind="outcome"))
    counted = Replayer(client, ctx.lanes, ctx.database, per_second=1000).replay(letters)
    pipeline.record()
    return counted


def test_a_status_that_waited_in_vain_can_be_replayed(untidy: InboundPipeline) -> None:
    """Its message has come after all: it is read. Replaying once more changes nothing."""
    kept(untidy, 7.1)
    sent = MessageOutcome(
        at=utc_now(),
        id=uuid4(),
        organization_id=untidy.organization,
        integration_id=untidy.integration,
        outgoing=True,
        phone=PEER,
        status="sent",
        task_id="task_77",
    )
    untidy.outbox.add([sent])
    untidy.record()
    assert [row["message_status"] for row in untidy.messages()] == ["sent"]
    assert replayed(untidy) == (1, 0)
    assert [row["message_status"] for row in untidy.messages()] == ["read"]
    assert replayed(untidy) == (0, 0)


def test_a_replayed_status_that_waits_in_vain_again_is_in_view_again(
    untidy: InboundPipeline,
) -> None:
    kept(untidy, 7.1)
    assert replayed(untidy) == (1, 0)
    assert counts(untidy) == (1, 1, 1)
    kept(untidy, 7.1)
    (letter,) = untidy.ctx.database.dead_letters.find(DeadLetterQuery(reason="message_never_came"))
    assert letter.attempts == 2


def test_what_waited_for_an_account_that_is_known_by_now_is_applied(
    pipeline: InboundPipeline,
) -> None:
    """A batch may park its rows at the very moment at which the account is being saved."""
    pipeline.post({"type": "chat", "from": f"+{PEER}", "text": "Hello", "messageId": "M1"})
    pipeline.env.sql("delete from wpp_accounts")
    pipeline.settle()
    assert pipeline.messages() == []
    pipeline.env.sql(
        "insert into wpp_accounts (account, organization_id, integration_id) values (%s, %s, %s)",
        *(pipeline.account, pipeline.organization, pipeline.integration),
    )
    assert kept(pipeline, 0)["unparked"] == 1
    assert [row["message_text"] for row in pipeline.messages()] == ["Hello"]
    assert counts(pipeline)[1] == 0


def test_an_old_raw_log_goes(untidy: InboundPipeline) -> None:
    assert kept(untidy, 31)["pruned"] == 1
    assert counts(untidy)[0] == 0


def test_a_chore_is_done_in_parts_until_nothing_is_left(untidy: InboundPipeline) -> None:
    """No statement takes long, however much there is."""
    untidy.post(
        *(
            {"type": "chat", "from": f"+{PEER}", "text": "Hi", "messageId": f"M{n}"}
            for n in range(6)
        )
    )
    untidy.settle()
    now = utc_now() + timedelta(days=31)
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(untidy.env.supabase), http, prune_size=2)
        assert retention.prune(database, SETTINGS, now, Flag())["pruned"] == 7
    assert counts(untidy)[0] == 0


def test_one_chore_that_fails_is_in_no_other_s_way(untidy: InboundPipeline) -> None:
    """What expires can't be written for now: old logs go all the same."""
    untidy.env.sql("alter table wpp_dead_letters add constraint full_up check (kind <> 'outcome')")
    try:
        assert kept(untidy, 31) == {"unparked": 0, "expired": 0, "pruned": 1}
    finally:
        untidy.env.sql("alter table wpp_dead_letters drop constraint full_up")
    assert counts(untidy) == (0, 1, 0)


@pytest.fixture
def absent_database(supabase_world: Supabase) -> Iterator[Database]:
    settings = supabase_settings(supabase_world).model_copy(
        update={"supabase_url": "http://127.0.0.1:9"}
    )
    with httpx.Client(trust_env=False) as http:
        yield Database(settings, http)


def test_an_hour_without_supabase_is_no_reason_to_stop(
    absent_database: Database, untidy: InboundPipeline
) -> None:
    """The keeper goes on until it is told to stop, whatever it meets."""
    stopping = Flag()
    old = RetentionSettings(wpp_log_days=1e-9, wpp_parked_days=1e-9)
    for database in (absent_database, untidy.ctx.database):
        keeper = Thread(target=retention.run_retention, args=(database, old, stopping, 0.01))
        keeper.start()
        time.sleep(0.1)
        assert keeper.is_alive()
        stopping.set()
        keeper.join(5)
        assert not keeper.is_alive()
        stopping.clear()
    assert counts(untidy) == (0, 0, 1)

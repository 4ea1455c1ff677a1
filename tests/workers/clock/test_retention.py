"""Retention deletes old logs and ends parked outcomes, and leaves the remaining rows."""

import tempfile
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
from shared.database.models import UploadedFile
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
    """Return the numbers of logged webhooks, parked outcomes and dead letters."""
    tables = ("wpp_webhook_log", "wpp.parked_outcomes", "wpp_dead_letters")
    logs, parked, dead = (
        pipeline.env.sql(f"select count(*) from {table}")[0]["count"]  # noqa: S608
        for table in tables
    )
    return logs, parked, dead


@pytest.fixture
def outdated(pipeline: InboundPipeline) -> InboundPipeline:
    """Return a pipeline with a logged webhook and a status of an unknown message."""
    pipeline.post({"type": "delivery", "messageId": "task_77", "status": "read"})
    pipeline.settle()
    assert counts(pipeline) == (1, 1, 0)
    return pipeline


def prune_after(pipeline: InboundPipeline, days: float) -> dict[str, int]:
    """Apply the retention as of so many days from now."""
    return retention.prune(
        pipeline.ctx.database, SETTINGS, utc_now() + timedelta(days=days), Flag()
    )


def test_recent_rows_stay(outdated: InboundPipeline) -> None:
    assert set(prune_after(outdated, 6.9).values()) == {0}
    assert counts(outdated) == (1, 1, 0)


def test_a_status_of_an_unknown_message_becomes_a_dead_letter(outdated: InboundPipeline) -> None:
    """The dead letter has a reason of its own."""
    assert prune_after(outdated, 7.1)["expired"] == 1
    assert counts(outdated) == (1, 0, 1)
    assert outdated.env.sql("select reason from wpp_dead_letters") == [
        {"reason": "message_never_came"}
    ]


def replay_outcomes(pipeline: InboundPipeline) -> tuple[int, int]:
    """Replay the dead outcomes and record them; return how many were replayed and skipped."""
    ctx = pipeline.ctx
    letters = ctx.database.dead_letters.iterate(DeadLetterQuery(kind="outcome"))
    counted = Replayer(ctx.redis, ctx.lanes, ctx.database, per_second=1000).replay(letters)
    pipeline.record()
    return counted


def test_an_expired_status_can_be_replayed(outdated: InboundPipeline) -> None:
    """Its message was recorded meanwhile. A second replay changes nothing."""
    prune_after(outdated, 7.1)
    sent = MessageOutcome(
        at=utc_now(),
        id=uuid4(),
        organization_id=outdated.organization,
        integration_id=outdated.integration,
        outgoing=True,
        phone=PEER,
        status="sent",
        task_id="task_77",
    )
    outdated.outbox.add([sent])
    outdated.record()
    assert [row["message_status"] for row in outdated.messages()] == ["sent"]
    assert replay_outcomes(outdated) == (1, 0)
    assert [row["message_status"] for row in outdated.messages()] == ["read"]
    assert replay_outcomes(outdated) == (0, 0)


def test_a_replayed_status_that_expires_again_is_listed_again(
    outdated: InboundPipeline,
) -> None:
    prune_after(outdated, 7.1)
    assert replay_outcomes(outdated) == (1, 0)
    assert counts(outdated) == (1, 1, 1)
    prune_after(outdated, 7.1)
    (letter,) = outdated.ctx.database.dead_letters.find(
        DeadLetterQuery(reason="message_never_came")
    )
    assert letter.attempts == 2


def test_a_parked_outcome_of_a_known_account_is_applied(
    pipeline: InboundPipeline,
) -> None:
    """A batch may park its rows while the account is being saved."""
    pipeline.post({"type": "chat", "from": f"+{PEER}", "text": "Hello", "messageId": "M1"})
    pipeline.env.sql("delete from wpp_accounts")
    pipeline.settle()
    assert pipeline.messages() == []
    pipeline.env.sql(
        "insert into wpp_accounts (account, organization_id, integration_id) values (%s, %s, %s)",
        *(pipeline.account, pipeline.organization, pipeline.integration),
    )
    assert prune_after(pipeline, 0)["unparked"] == 1
    assert [row["message_text"] for row in pipeline.messages()] == ["Hello"]
    assert counts(pipeline)[1] == 0


def test_an_old_logged_webhook_is_deleted(outdated: InboundPipeline) -> None:
    assert prune_after(outdated, 31)["pruned"] == 1
    assert counts(outdated)[0] == 0


def test_rows_are_deleted_in_parts(outdated: InboundPipeline) -> None:
    """Each statement deletes a bounded number of rows."""
    outdated.post(
        *(
            {"type": "chat", "from": f"+{PEER}", "text": "Hi", "messageId": f"M{n}"}
            for n in range(6)
        )
    )
    outdated.settle()
    now = utc_now() + timedelta(days=31)
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(outdated.env.supabase), http, prune_size=2)
        assert retention.prune(database, SETTINGS, now, Flag())["pruned"] == 7
    assert counts(outdated)[0] == 0


def test_a_task_that_fails_stops_no_other_task(outdated: InboundPipeline) -> None:
    """Expired outcomes cannot be written, and old logs are deleted."""
    outdated.env.sql(
        "alter table wpp_dead_letters add constraint full_up check (kind <> 'outcome')"
    )
    try:
        assert prune_after(outdated, 31)["pruned"] == 1
    finally:
        outdated.env.sql("alter table wpp_dead_letters drop constraint full_up")
    assert counts(outdated) == (0, 1, 0)


def test_an_uploaded_file_goes_unless_a_message_uses_it(outdated: InboundPipeline) -> None:
    """Its row and its content, after a week."""
    database = outdated.ctx.database
    for is_used in (False, True):
        file_id = uuid4()
        path = f"wpp/{outdated.organization}/files/{file_id}.txt"
        with tempfile.TemporaryFile() as content:
            content.write(b"hello")
            link = database.storage.upload(path, content, "text/plain")
        file = UploadedFile(
            id=file_id,
            organization_id=outdated.organization,
            path=path,
            name="a.txt",
            mime="text/plain",
            size=5,
            sha256="0" * 64,
            created_at=utc_now(),
        )
        database.files.add(file)
        if is_used:
            assert database.files.use(file_id, outdated.organization)
        assert prune_after(outdated, 6.9)["files"] == 0
        assert prune_after(outdated, 7.1)["files"] == int(not is_used)
        assert httpx.get(link, trust_env=False).is_success == is_used


@pytest.fixture
def absent_database(supabase_world: Supabase) -> Iterator[Database]:
    settings = supabase_settings(supabase_world).model_copy(
        update={"supabase_url": "http://127.0.0.1:9"}
    )
    with httpx.Client(trust_env=False) as http:
        yield Database(settings, http)


def test_retention_goes_on_after_an_outage_of_supabase(
    absent_database: Database, outdated: InboundPipeline
) -> None:
    """The thread runs until the process stops."""
    stopping = Flag()
    old = RetentionSettings(wpp_log_days=1e-9, wpp_parked_days=1e-9)
    for database in (absent_database, outdated.ctx.database):
        thread = Thread(target=retention.run_retention, args=(database, old, stopping, 0.01))
        thread.start()
        time.sleep(0.1)
        assert thread.is_alive()
        stopping.set()
        thread.join(20)
        assert not thread.is_alive()
        stopping.clear()
    assert counts(outdated) == (0, 0, 1)

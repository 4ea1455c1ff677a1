"""What the raw log has can be applied again, and changes nothing that is right."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.database import Database
from shared.database.models import Applied, LogQuery, Refused
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import utc_now
from tests.fixtures.provision_env import supabase_settings
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.corpus import iterate_bodies
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from tests.workers.media.samples import base64_of, jpeg
from workers.webhook.replay import ReplayCount, replay_events

__all__ = ["pipeline"]

FLAT: dict[str, Any] = {"from": f"+{PEER}", "type": "chat", "text": "Hello", "messageId": "M1"}
PHOTO = {
    **FLAT,
    "text": "x",
    "messageId": "M2",
    "media": {"mimetype": "image/jpeg", "base64": base64_of(jpeg())},
}
TABLES = (
    *("chat_messages", "clients", "client_phone_numbers", "message_reactions", "whatsapp_sessions"),
    *(
        "wpp_message_ids",
        "wpp_message_history",
        "wpp_session_history",
        "wpp.parked_outcomes",
        "wpp_webhook_log",
    ),
)


def everything(pipeline: InboundPipeline) -> dict[str, list[str]]:
    """Return every row that webhooks make, as text."""
    return {
        table: sorted(
            row["row"]
            for row in pipeline.env.sql(f"select t::text as row from {table} t")  # noqa: S608
        )
        for table in TABLES
    }


def replayed(pipeline: InboundPipeline, **query: Any) -> ReplayCount:
    database = pipeline.ctx.database
    return replay_events(database.webhook_log.iterate(LogQuery(**query)), database.outcomes.apply)


def test_replaying_everything_changes_nothing(pipeline: InboundPipeline) -> None:
    """The whole corpus of what may arrive, applied a second and a third time."""
    for body in iterate_bodies(pipeline.account):
        pipeline.post(body)
    pipeline.post(PHOTO)
    pipeline.settle()
    before = everything(pipeline)
    for _ in range(2):
        count = replayed(pipeline)
        assert count.events == len(before["wpp_webhook_log"])
        assert count.applied > 50
        assert count.refused == 0
    after = everything(pipeline)
    for table in TABLES:
        assert after[table] == before[table], table


def test_rows_that_were_lost_come_back(pipeline: InboundPipeline) -> None:
    """All but the link to the file, which the log does not have."""
    pipeline.post(FLAT, PHOTO)
    pipeline.settle()
    before = [
        (row["id"], row["message_text"], row["created_at"], row["client_phone"])
        for row in pipeline.messages()
    ]
    pipeline.env.sql("delete from chat_messages")
    assert replayed(pipeline) == ReplayCount(events=2, applied=2)
    after = pipeline.messages()
    assert [
        (row["id"], row["message_text"], row["created_at"], row["client_phone"]) for row in after
    ] == before
    assert [(row["file_name"], row["file_url"]) for row in after if row["file_name"]] == [
        ("image.jpg", None)
    ]


def test_a_range_or_a_single_event_is_replayed(pipeline: InboundPipeline) -> None:
    now = utc_now()
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    pipeline.settle()
    ids = [row["id"] for row in pipeline.logged()]
    assert replayed(pipeline, ids=ids[:1]).events == 1
    assert replayed(pipeline, since=now, until=now + timedelta(minutes=1)).events == 3
    assert replayed(pipeline, until=now).events == 0
    assert replayed(pipeline, account="another").events == 0
    assert replayed(pipeline, event_type="chat", became="message").events == 3


def test_more_than_a_page_is_replayed(pipeline: InboundPipeline) -> None:
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(5)))
    pipeline.settle()
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(pipeline.env.supabase), http, page_size=2)
        events = database.webhook_log.iterate(LogQuery())
        assert replay_events(events, database.outcomes.apply) == ReplayCount(events=5, applied=5)


def test_what_the_log_shortened_is_left_alone(pipeline: InboundPipeline) -> None:
    """A text of 100,000 letters is longer than the log keeps: it is no second version of the message."""
    pipeline.post({**FLAT, "text": "я" * 60_000})
    pipeline.settle()
    before = everything(pipeline)
    assert replayed(pipeline) == ReplayCount(events=1, skipped=1)
    assert everything(pipeline) == before


def test_a_pairing_code_is_not_shown_again(pipeline: InboundPipeline) -> None:
    """The log has none, and what it has instead is none."""
    pipeline.post({"type": "qr", "qr": "2@AbCdEf"})
    pipeline.settle()
    assert replayed(pipeline) == ReplayCount(events=1, skipped=1)
    assert pipeline.env.sql("select last_qr_b64 from whatsapp_sessions") == [
        {"last_qr_b64": "2@AbCdEf"}
    ]


def test_one_row_that_supabase_refuses_takes_no_other_with_it(pipeline: InboundPipeline) -> None:
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    pipeline.settle()
    taken: list[Any] = []

    def apply(rows: Sequence[dict[str, Any]]) -> Applied:
        if any(row["wa_message_id"] == "M1" for row in rows):
            msg = "no"
            raise DatabaseError(msg)
        taken.extend(rows)
        return Applied(changed=[])

    events = pipeline.ctx.database.webhook_log.iterate(LogQuery())
    assert replay_events(events, apply) == ReplayCount(events=3, applied=2, refused=1)
    assert {row["wa_message_id"] for row in taken} == {"M0", "M2"}


def test_what_is_refused_or_locked_is_told(pipeline: InboundPipeline) -> None:
    """Supabase names both; what is locked is to be replayed again."""
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    pipeline.settle()

    def apply(_rows: Sequence[dict[str, Any]]) -> Applied:
        return Applied(changed=[], refused=[Refused(row=0, why="no")], busy=[2])

    events = pipeline.ctx.database.webhook_log.iterate(LogQuery())
    assert replay_events(events, apply) == ReplayCount(events=3, applied=1, refused=1, locked=1)


def test_an_outage_ends_a_replay(pipeline: InboundPipeline) -> None:
    """Whoever replays is told, and begins again: it may be done twice."""
    pipeline.post(FLAT)
    pipeline.settle()

    def away(_rows: Sequence[dict[str, Any]]) -> Applied:
        msg = "away"
        raise DatabaseUnavailableError(msg)

    with pytest.raises(DatabaseUnavailableError):
        replay_events(pipeline.ctx.database.webhook_log.iterate(LogQuery()), away)

"""A replay of the webhook log restores lost rows, and changes no right row."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared import webhooks
from shared.database import Database
from shared.database.models import Applied, LogQuery, Refused
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import utc_now
from shared.outcomes import LogOutcome
from shared.qr_pictures import to_stored
from shared.webhooks import vocabulary
from tests.fixtures.provision_env import supabase_settings
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.corpus import iterate_bodies
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from tests.workers.media.samples import base64_of, jpeg
from workers.repair.webhooks import ReplayCount, replay_events

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


def dump_tables(pipeline: InboundPipeline) -> dict[str, list[str]]:
    """Return the rows of every table that webhooks change, as text."""
    return {
        table: sorted(
            row["row"]
            for row in pipeline.env.sql(f"select t::text as row from {table} t")  # noqa: S608
        )
        for table in TABLES
    }


def replay_log(pipeline: InboundPipeline, **query: Any) -> ReplayCount:
    database = pipeline.ctx.database
    return replay_events(database.webhook_log.iterate(LogQuery(**query)), database.outcomes.apply)


def test_replaying_everything_changes_nothing(pipeline: InboundPipeline) -> None:
    """The whole corpus is applied a second and a third time."""
    for body in iterate_bodies(pipeline.account):
        pipeline.post(body)
    pipeline.post(PHOTO)
    pipeline.settle()
    before = dump_tables(pipeline)
    for _ in range(2):
        count = replay_log(pipeline)
        assert count.events == len(before["wpp_webhook_log"])
        assert count.applied > 50
        assert count.refused == 0
    after = dump_tables(pipeline)
    for table in TABLES:
        assert after[table] == before[table], table


def test_rows_that_were_lost_come_back(pipeline: InboundPipeline) -> None:
    """Except for the link to the file, which the log does not hold."""
    pipeline.post(FLAT, PHOTO)
    pipeline.settle()
    before = [
        (row["id"], row["message_text"], row["created_at"], row["client_phone"])
        for row in pipeline.messages()
    ]
    pipeline.env.sql("delete from chat_messages")
    assert replay_log(pipeline) == ReplayCount(events=2, applied=2)
    after = pipeline.messages()
    assert [
        (row["id"], row["message_text"], row["created_at"], row["client_phone"]) for row in after
    ] == before
    assert [(row["file_name"], row["file_url"]) for row in after if row["file_name"]] == [
        ("image.jpg", None)
    ]


def test_a_range_or_a_single_event_is_replay_log(pipeline: InboundPipeline) -> None:
    now = utc_now()
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    pipeline.settle()
    ids = [row["id"] for row in pipeline.logged()]
    assert replay_log(pipeline, ids=ids[:1]).events == 1
    assert replay_log(pipeline, since=now, until=now + timedelta(minutes=1)).events == 3
    assert replay_log(pipeline, until=now).events == 0
    assert replay_log(pipeline, account="another").events == 0
    assert replay_log(pipeline, event_type="chat", became="message").events == 3


def test_more_than_a_page_is_replay_log(pipeline: InboundPipeline) -> None:
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(5)))
    pipeline.settle()
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(pipeline.env.supabase), http, page_size=2)
        events = database.webhook_log.iterate(LogQuery())
        assert replay_events(events, database.outcomes.apply) == ReplayCount(events=5, applied=5)


def test_a_text_that_the_log_shortened_is_skipped(pipeline: InboundPipeline) -> None:
    """A text beyond the log's limit is not a second version of the message."""
    pipeline.post({**FLAT, "text": "я" * 60_000})
    pipeline.settle()
    before = dump_tables(pipeline)
    assert replay_log(pipeline) == ReplayCount(events=1, skipped=1)
    assert dump_tables(pipeline) == before


def test_a_pairing_code_is_not_shown_again(pipeline: InboundPipeline) -> None:
    """The log holds a placeholder in place of the code."""
    pipeline.post({"type": "qr", "qr": "2@AbCdEf"})
    pipeline.settle()
    assert replay_log(pipeline) == ReplayCount(events=1, skipped=1)
    assert pipeline.env.sql("select last_qr_b64 from whatsapp_sessions") == [
        {"last_qr_b64": to_stored("2@AbCdEf")}
    ]


def test_a_refused_row_does_not_affect_its_batch(pipeline: InboundPipeline) -> None:
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


def test_refused_and_waiting_rows_are_counted(pipeline: InboundPipeline) -> None:
    """The database names both; the recorder retries what waits."""
    pipeline.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    pipeline.settle()

    def apply(_rows: Sequence[dict[str, Any]]) -> Applied:
        return Applied(changed=[], refused=[Refused(row=0, why="no")], waiting=1)

    events = pipeline.ctx.database.webhook_log.iterate(LogQuery())
    assert replay_events(events, apply) == ReplayCount(events=3, applied=1, refused=1, set_aside=1)


def test_an_outage_ends_a_replay(pipeline: InboundPipeline) -> None:
    """The error reaches the operator, who starts again."""
    pipeline.post(FLAT)
    pipeline.settle()

    def away(_rows: Sequence[dict[str, Any]]) -> Applied:
        msg = "away"
        raise DatabaseUnavailableError(msg)

    with pytest.raises(DatabaseUnavailableError):
        replay_events(pipeline.ctx.database.webhook_log.iterate(LogQuery()), away)


ONCE_NEW: dict[str, Any] = {"type": "whisper", "text": "Pssst", "messageId": "M7"}
"""A message of a type that no version understood, from a sender in a field that none read."""


def learn_whispers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play an upgrade: from now on the type is a message, and its field names the sender."""
    parse = webhooks.parse_payload

    def parse_newly(raw: Mapping[str, Any]) -> webhooks.Payload:
        whisperer = {"from": raw["whisperer"]} if "whisperer" in raw else {}
        return parse({**raw, **whisperer})

    monkeypatch.setattr(webhooks, "parse_payload", parse_newly)
    monkeypatch.setitem(vocabulary.EVENT_TYPES, "whisper", "message")


def test_what_was_not_understood_is_filed_after_an_upgrade_and_once(
    pipeline: InboundPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log entry then says what it became; what is still not understood stays listed."""
    pipeline.post(
        {**ONCE_NEW, "whisperer": f"+{PEER}"},
        {**ONCE_NEW, "whisperer": f"+{PEER}"},  # the platform's retry
        {"type": "poll.created", "id": "evt_1"},
    )
    pipeline.settle()
    assert pipeline.messages() == []
    assert replay_log(pipeline, unrecognized=True) == ReplayCount(events=2, unrecognized=2)
    learn_whispers(monkeypatch)
    assert replay_log(pipeline, unrecognized=True) == ReplayCount(
        events=2, applied=2, unrecognized=1
    )
    (row,) = pipeline.messages()
    assert (row["message_text"], row["client_phone"]) == ("Pssst", PEER)
    assert sorted(entry["became"] for entry in pipeline.logged()) == ["message", "unknown"]
    before = dump_tables(pipeline)
    assert replay_log(pipeline, unrecognized=True) == ReplayCount(events=1, unrecognized=1)
    assert replay_log(pipeline).applied == 1
    assert dump_tables(pipeline) == before


def test_an_event_that_came_late_from_an_older_worker_changes_no_result(
    pipeline: InboundPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcomes may be retried after a replay has filed it."""
    pipeline.post({**ONCE_NEW, "whisperer": f"+{PEER}"})
    pipeline.settle()
    (entry,) = pipeline.logged()
    learn_whispers(monkeypatch)
    replay_log(pipeline, unrecognized=True)
    old = LogOutcome(
        at=entry["at"],
        id=entry["id"],
        account=pipeline.account,
        event_type="whisper",
        payload=entry["payload"],
        became="unknown",
    )
    pipeline.ctx.database.outcomes.apply([old.model_dump(mode="json")])
    assert [entry["became"] for entry in pipeline.logged()] == ["message"]

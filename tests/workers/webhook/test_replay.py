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
from tests.pipeline.inbound.conftest import town
from tests.pipeline.inbound.corpus import every_body
from tests.pipeline.inbound.inbound_pipeline import PEER, Town
from tests.workers.media.samples import base64_of, jpeg
from tests.workers.provision.environment import supabase_settings
from workers.webhook.replay import Replayed, replay

__all__ = ["town"]

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
        "wpp_parked_outcomes",
        "wpp_webhook_log",
    ),
)


def everything(town: Town) -> dict[str, list[str]]:
    """Return every row that webhooks make, as text."""
    return {
        table: sorted(row["row"] for row in town.shop.sql(f"select t::text as row from {table} t"))  # noqa: S608
        for table in TABLES
    }


def replayed(town: Town, **query: Any) -> Replayed:
    database = town.ctx.database
    return replay(database.webhook_log.iterate(LogQuery(**query)), database.outcomes.apply)


def test_replaying_everything_changes_nothing(town: Town) -> None:
    """The whole corpus of what may arrive, applied a second and a third time."""
    for body in every_body(town.account):
        town.post(body)
    town.post(PHOTO)
    town.settle()
    before = everything(town)
    for _ in range(2):
        count = replayed(town)
        assert count.events == len(before["wpp_webhook_log"])
        assert count.applied > 50
        assert count.refused == 0
    after = everything(town)
    for table in TABLES:
        assert after[table] == before[table], table


def test_rows_that_were_lost_come_back(town: Town) -> None:
    """All but the link to the file, which the log does not have."""
    town.post(FLAT, PHOTO)
    town.settle()
    before = [
        (row["id"], row["message_text"], row["created_at"], row["client_phone"])
        for row in town.messages()
    ]
    town.shop.sql("delete from chat_messages")
    assert replayed(town) == Replayed(events=2, applied=2)
    after = town.messages()
    assert [
        (row["id"], row["message_text"], row["created_at"], row["client_phone"]) for row in after
    ] == before
    assert [(row["file_name"], row["file_url"]) for row in after if row["file_name"]] == [
        ("image.jpg", None)
    ]


def test_a_range_or_a_single_event_is_replayed(town: Town) -> None:
    now = utc_now()
    town.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    town.settle()
    ids = [row["id"] for row in town.logged()]
    assert replayed(town, ids=ids[:1]).events == 1
    assert replayed(town, since=now, until=now + timedelta(minutes=1)).events == 3
    assert replayed(town, until=now).events == 0
    assert replayed(town, account="another").events == 0
    assert replayed(town, event_type="chat", became="message").events == 3


def test_more_than_a_page_is_replayed(town: Town) -> None:
    town.post(*({**FLAT, "messageId": f"M{number}"} for number in range(5)))
    town.settle()
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(town.shop.supabase), http, page_size=2)
        events = database.webhook_log.iterate(LogQuery())
        assert replay(events, database.outcomes.apply) == Replayed(events=5, applied=5)


def test_what_the_log_shortened_is_left_alone(town: Town) -> None:
    """A text of 100,000 letters is longer than the log keeps: it is no second version of the message."""
    town.post({**FLAT, "text": "я" * 60_000})
    town.settle()
    before = everything(town)
    assert replayed(town) == Replayed(events=1, left=1)
    assert everything(town) == before


def test_a_pairing_code_is_not_shown_again(town: Town) -> None:
    """The log has none, and what it has instead is none."""
    town.post({"type": "qr", "qr": "2@AbCdEf"})
    town.settle()
    assert replayed(town) == Replayed(events=1, left=1)
    assert town.shop.sql("select last_qr_b64 from whatsapp_sessions") == [
        {"last_qr_b64": "2@AbCdEf"}
    ]


def test_one_row_that_supabase_refuses_takes_no_other_with_it(town: Town) -> None:
    town.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    town.settle()
    taken: list[Any] = []

    def apply(rows: Sequence[dict[str, Any]]) -> Applied:
        if any(row["wa_message_id"] == "M1" for row in rows):
            msg = "no"
            raise DatabaseError(msg)
        taken.extend(rows)
        return Applied(changed=[])

    events = town.ctx.database.webhook_log.iterate(LogQuery())
    assert replay(events, apply) == Replayed(events=3, applied=2, refused=1)
    assert {row["wa_message_id"] for row in taken} == {"M0", "M2"}


def test_what_is_refused_or_locked_is_told(town: Town) -> None:
    """Supabase names both; what is locked is to be replayed again."""
    town.post(*({**FLAT, "messageId": f"M{number}"} for number in range(3)))
    town.settle()

    def apply(_rows: Sequence[dict[str, Any]]) -> Applied:
        return Applied(changed=[], refused=[Refused(row=0, why="no")], busy=[2])

    events = town.ctx.database.webhook_log.iterate(LogQuery())
    assert replay(events, apply) == Replayed(events=3, applied=1, refused=1, busy=1)


def test_an_outage_ends_a_replay(town: Town) -> None:
    """Whoever replays is told, and begins again: it may be done twice."""
    town.post(FLAT)
    town.settle()

    def away(_rows: Sequence[dict[str, Any]]) -> Applied:
        msg = "away"
        raise DatabaseUnavailableError(msg)

    with pytest.raises(DatabaseUnavailableError):
        replay(town.ctx.database.webhook_log.iterate(LogQuery()), away)

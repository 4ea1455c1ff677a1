"""The history of messages: every event once, with our own clock beside the platform's, in order."""

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.migrations.conftest import Tenant, at

EVENTS = """
select event, status, source, at, arrived_at, started_at, attempt, code, error, actor, detail
from wpp_message_history where organization_id = %s order by id
"""


def events(tenant: Tenant) -> list[dict[str, Any]]:
    """Return the events of an organization in the order of their ids, without empty fields."""
    return [
        {name: value for name, value in row.items() if value not in (None, "")}
        for row in tenant.rows(EVENTS, tenant.id)
    ]


def test_an_attempt_is_an_event_without_a_status(tenant: Tenant) -> None:
    message = tenant.sent("queued", task_id="T1")
    attempt = {"event": "attempt", "attempt": 1, "started_at": at(1), "error": "429"}
    waits = message.model_copy(update={"at": at(2), **attempt})
    sent = {"status": "sent", "at": at(4), "attempt": 2, "started_at": at(3)}
    for _ in range(2):
        tenant.apply(message, waits, message.model_copy(update=sent))
    own = {"source": "own", "status": "queued"}
    assert events(tenant) == [
        {"event": "queued", "at": at(0), "arrived_at": at(0), **own},
        {**attempt, "source": "own", "at": at(2), "arrived_at": at(2)},
        {"event": "sent", "source": "own", "arrived_at": at(4), **sent},
    ]
    assert tenant.message()["message_status"] == "sent"


@pytest.mark.parametrize("first", ["attempt", "queued"])
def test_an_attempt_that_comes_first_makes_the_row(tenant: Tenant, first: str) -> None:
    message = tenant.sent("queued")
    waits = message.model_copy(update={"at": at(2), "event": "attempt", "attempt": 1})
    order = [waits, message] if first == "attempt" else [message, waits]
    for each in order:
        tenant.apply(each)
    row = tenant.message()
    assert (row["message_status"], row["created_at"]) == ("queued", at(0))
    assert {each["event"] for each in events(tenant)} == {"queued", "attempt"}


def test_what_the_platform_reports_has_our_time_beside_its_own(tenant: Tenant) -> None:
    tenant.apply(
        tenant.sent(task_id="T1"),
        tenant.status("failed", 1, "T1", arrived_at=at(1.25), code="given_up", error="no phone"),
        tenant.arrived(2, arrived_at=at(2.5)),
    )
    platform = {"source": "platform"}
    assert events(tenant)[1:] == [
        {"event": "received", "status": "delivered", "at": at(2), "arrived_at": at(2.5)} | platform,
        {"event": "failed", "status": "failed", "at": at(1), "arrived_at": at(1.25)}
        | {"code": "given_up", "error": "no phone"}
        | platform,
    ]


def test_reactions_and_edits_are_events(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    tenant.apply(
        tenant.reaction("👍", 1, "W1"),
        tenant.reaction("🔥", 1, "W1", outgoing=True),
        tenant.reaction(None, 2, "W1"),
        tenant.edit("Hi!", 3, "W1"),
        tenant.status("deleted", 4, "W1", own=True),
    )
    told = [(each["event"], each.get("actor"), each.get("detail")) for each in events(tenant)]
    assert told == [
        ("received", None, None),
        ("reaction", "79990001122", "👍"),
        ("reaction", "self", "🔥"),
        ("reaction_removed", "79990001122", None),
        ("edited", None, None),
        ("deleted", None, None),
    ]
    assert events(tenant)[-1]["source"] == "own"


def test_ids_rise_in_the_order_of_commits(tenant: Tenant, other: Tenant, database_url: str) -> None:
    """No batch of an organization draws ids while another one of it has not committed."""
    first, second = tenant.sent(), tenant.sent()
    with psycopg.connect(database_url, row_factory=dict_row) as slow:
        Tenant(slow, tenant.account, tenant.id, tenant.integration).apply(first)
        assert other.apply(other.sent())["set_aside"] == []
        assert tenant.apply(second)["waiting"] == 1
    tenant.retry()
    ids = "select message_id, id from wpp_message_history where organization_id = %s order by id"
    assert [row["message_id"] for row in tenant.rows(ids, tenant.id)] == [first.id, second.id]

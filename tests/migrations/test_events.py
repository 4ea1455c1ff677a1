"""Events: what is noted of messages and numbers, in which order, and for how long."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.migrations.conftest import PHONE, Tenant, at


def read(tenant: Tenant, after: int | None = 0, max_rows: int = 100) -> dict[str, Any]:
    (row,) = tenant.rows("select wpp_read_events(%s, %s, %s) as it", tenant.id, after, max_rows)
    return dict(row["it"])


def list_types(tenant: Tenant) -> list[str]:
    return [event["type"] for event in read(tenant)["events"]]


def test_the_life_of_a_message_is_told_once_in_order(tenant: Tenant) -> None:
    """Own conclusions and reports of the platform at different times are the same event."""
    message = tenant.sent("queued", task_id=None)
    tenant.apply(message)
    tenant.apply(message.model_copy(update={"status": "sent", "at": at(1), "task_id": "T1"}))
    tenant.apply(tenant.status("sent", 2, "T1"), tenant.status("delivered", 3, "T1"))
    tenant.apply(tenant.status("delivered", 3, "T1"), tenant.status("delivered", 4, "T1"))
    tenant.apply(tenant.status("read", 5, "T1"))
    assert list_types(tenant) == [
        "message.queued",
        "message.sent",
        "message.delivered",
        "message.read",
    ]
    ids = [event["id"] for event in read(tenant)["events"]]
    assert ids == sorted(set(ids))


def test_a_message_that_arrives_was_received(tenant: Tenant) -> None:
    """The event has what the row has, by the phone's digits."""
    tenant.apply(tenant.arrived(wa_message_id="W1", text="Good day"))
    (event,) = read(tenant)["events"]
    assert event["type"] == "message.received"
    expected = {
        "integration_id": str(tenant.integration),
        "phone": PHONE,
        "is_outgoing": False,
        "text": "Good day",
        "content": "text",
        "status": "delivered",
    }
    assert event["data"].items() >= expected.items()
    assert event["data"]["message_id"] == str(tenant.message()["id"])


def test_edits_reactions_and_states_are_events(tenant: Tenant) -> None:
    tenant.apply(tenant.session("connected", 0), tenant.arrived(wa_message_id="W1"))
    tenant.apply(tenant.edit("Better", 2, "W1"), tenant.reaction("👍", 3, "W1"))
    tenant.apply(tenant.edit("Better", 2, "W1"), tenant.reaction("👍", 3, "W1"))  # repeated
    tenant.apply(tenant.reaction(None, 4, "W1"), tenant.session("connected", 5))
    number, _, edit, reaction, withdrawn = read(tenant)["events"]
    assert number["type"] == "number.connected"
    assert number["data"]["integration_id"] == str(tenant.integration)
    assert number["data"]["account"] == tenant.account
    assert (edit["type"], edit["data"]["text"]) == ("message.edited", "Better")
    assert (reaction["type"], reaction["data"]["emoji"]) == ("message.reaction", "👍")
    assert withdrawn["data"]["emoji"] is None


def test_a_failure_is_told_with_its_reason_each_time(tenant: Tenant) -> None:
    """A message that an operator sent again may fail again."""
    message = tenant.sent("failed", error="refused")
    tenant.apply(message, message.model_copy(update={"at": at(9), "error": "refused again"}))
    errors = [event["data"]["error"] for event in read(tenant)["events"]]
    assert errors == ["refused", "refused again"]


def test_what_happened_before_the_history_is_no_news(tenant: Tenant) -> None:
    """A row of the CRM gets its past status into the history, and no event for it."""
    tenant.db.execute(
        "insert into chat_messages (id, organization_id, message_text, message_type,"
        " messenger_type, is_outgoing, message_status, external_message_id, created_at)"
        " values (%s, %s, 'Old', 'manager', 'whatsapp', true, 'sent', 'T1', %s)",
        (uuid4(), tenant.id, at(-999)),
    )
    tenant.apply(tenant.status("read", 1, "T1"))
    assert list_types(tenant) == ["message.read"]


def test_organizations_see_only_their_own(tenant: Tenant, other: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1", text="Mine"))
    other.apply(other.arrived(wa_message_id="W1", text="Theirs"))
    assert [event["data"]["text"] for event in read(tenant)["events"]] == ["Mine"]
    assert [event["data"]["text"] for event in read(other)["events"]] == ["Theirs"]


def test_pages_follow_each_other_without_a_gap(tenant: Tenant) -> None:
    """A page ends at its number of events, or at a megabyte of text, but has one."""
    tenant.apply(*(tenant.arrived(n, wa_message_id=f"W{n}", text="x" * 400_000) for n in range(5)))
    seen, position, more = [], 0, True
    while more:
        page = read(tenant, position, max_rows=4)
        assert 1 <= len(page["events"]) <= 2
        seen += [event["id"] for event in page["events"]]
        position, more = page["last"], page["more"]
    assert len(set(seen)) == len(seen) == 5


def test_the_end_is_a_position(tenant: Tenant) -> None:
    assert read(tenant, None)["last"] == 0
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    end = read(tenant, None)
    assert end["events"] == []
    assert end["last"] == read(tenant)["events"][-1]["id"]
    assert read(tenant, end["last"]) == {**end, "events": []}


def test_events_of_deleted_messages_are_left_out(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1"), tenant.session("connected", 1))
    tenant.db.execute("delete from chat_messages")
    assert list_types(tenant) == ["number.connected"]
    page = read(tenant)
    assert page["last"] >= page["events"][-1]["id"]


def test_old_events_are_deleted_and_leave_a_floor(tenant: Tenant, other: Tenant) -> None:
    """A position before a deleted event has a gap; that of another organization has none."""
    tenant.apply(tenant.arrived(1, wa_message_id="W1"))
    other.apply(other.arrived(1, wa_message_id="W1"))
    old = read(tenant)["last"]
    tenant.db.execute(
        "update wpp.events set recorded_at = now() - interval '8 days' where organization_id = %s",
        (tenant.id,),
    )
    tenant.apply(tenant.arrived(2, wa_message_id="W2"))
    (row,) = tenant.rows("select wpp_prune_events(now() - interval '7 days', 10) as it")
    assert row["it"] == 1
    page = read(tenant)
    assert (page["floor"], len(page["events"])) == (old, 1)
    assert read(other)["floor"] == 0


def test_a_reader_never_misses_an_event_of_a_slower_transaction(
    tenant: Tenant, database_url: str
) -> None:
    """Two recorders at once: the second waits for the first, so that ids are seen in order."""
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        add = (
            "insert into wpp_session_history (organization_id, integration_id, account, status,"
            " reason, at) values (%s, %s, %s, 'connected', %s, now())"
        )
        first.execute("select wpp.lock_organization(%s)", (tenant.id,))
        first.execute(add, (tenant.id, tenant.integration, tenant.account, "first"))
        second.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute("select wpp.lock_organization(%s)", (tenant.id,))
        second.rollback()
        first.commit()
    assert len(read(tenant)["events"]) == 1


def test_a_hostile_row_of_a_user_breaks_no_reader(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    for metadata in ("[]", '"x"', "null", '{"phone": {"a": 1}, "integration_id": [1]}'):
        tenant.db.execute("update chat_messages set metadata = %s::jsonb", (metadata,))
        (event,) = read(tenant)["events"]
        assert event["type"] == "message.received"


def test_a_user_cannot_read_another_organization_s_text(tenant: Tenant, other: Tenant) -> None:
    """A row that a user moves to another organization takes no event with it."""
    tenant.apply(tenant.arrived(wa_message_id="W1", text="Mine"))
    tenant.db.execute("update chat_messages set organization_id = %s", (other.id,))
    assert read(tenant)["events"] == []
    assert read(other)["events"] == []

"""A hostile user writes any value into any column it may write: nothing raises, no other is hit."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.migrations.conftest import PHONE, Db, Tenant, at

TIME = "2026-11-21T12:00:01Z"
HOSTILE_TIMES = [
    *(None, "infinity", "-infinity", "4713-01-01 BC", "294276-12-31", "1969-01-01"),
    *(TIME, "2099-01-01T00:00:00Z"),
]
TIMES = st.sampled_from(HOSTILE_TIMES)
TEXTS = st.one_of(st.none(), TIMES, st.sampled_from(["", "not a time", "stored", "W1", "T1", "😀"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["at", "emoji", "79990001122", "self", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
KEYS = [
    *("echo", "echoed", "edited_at", "original_text", "reactions", "conflicts", "other_files"),
    *("media_state", "media_path", "integration_id", "error", "contact"),
]
METADATA = st.one_of(VALUES, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
ROW = st.fixed_dictionaries(
    {"metadata": METADATA, "created_at": TIMES},
    optional={
        "is_outgoing": st.sampled_from([None, True, False]),
        "is_read": st.sampled_from([None, True, False]),
        "message_text": st.sampled_from(["", "Hi", "Hello", "x" * 9000]),
        "message_status": st.sampled_from([None, "queued", "deleted", "read", "unknown"]),
        "external_message_id": st.sampled_from([None, "W1", "T1"]),
        "is_foreign": st.booleans(),
        "file_name": TEXTS,
        "sender_name": TEXTS,
    },
)
HITS = {"echoed": "not-a-time", "conflicts": "x", "other_files": 1, "reactions": [1], "echo": 1}


def dump(tenant: Tenant) -> str:
    """Return all rows of an organization, as text."""
    found: dict[str, Any] = {}
    for table in (
        *("clients", "chat_messages", "wpp_message_ids", "wpp_message_history"),
        *("whatsapp_sessions", "wpp_integration_activity", "messenger_integrations"),
    ):
        query = sql.SQL("select t::text as t from {} t where organization_id = %s order by 1")
        rows = tenant.db.execute(query.format(sql.Identifier(table)), (tenant.id,)).fetchall()
        found[table] = [row["t"] for row in rows]
    return json.dumps(found, indent=1)


def write(user: Tenant, victim: Tenant, row: dict[str, Any], **more: Any) -> UUID:
    """Write a message as a user of the organization `user` may."""
    row = {"message_text": "Hi", "message_type": "client", **row, **more}
    row["metadata"] = Jsonb(row["metadata"])
    is_foreign = row.pop("is_foreign", False)
    owner = victim if is_foreign else user
    row |= {"organization_id": user.id, "client_id": owner.clients()[0]["id"]}
    row |= {"integration_id": owner.integration, "id": row.get("id", uuid4())}
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    places = sql.SQL(", ").join(sql.Placeholder() * len(row))
    user.db.execute(
        sql.SQL("insert into chat_messages ({}) values ({})").format(names, places),
        list(row.values()),
    )
    return UUID(str(row["id"]))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROW, min_size=1, max_size=4))
@example(rows=[{"metadata": HITS, "created_at": None}])
@example(rows=[{"metadata": 5, "created_at": "4713-01-01 BC", "is_outgoing": False}])
@example(rows=[{"metadata": {"echo": True}, "created_at": "2099-01-01", "is_foreign": True}])
def test_whatever_a_user_writes_nothing_raises_and_no_other_is_changed(
    db: Db, tenant: Tenant, other: Tenant, rows: list[dict[str, Any]]
) -> None:
    """Every kind of outcome meets the user's rows: by id, by external id, by client."""
    with db.transaction(force_rollback=True):
        for each in (tenant, other):
            each.apply(each.arrived(wa_message_id="W0"), each.sent(task_id="T0"))
        before = dump(other)
        coming = tenant.sent(task_id="T1", wa_message_id="W1")
        for number, row in enumerate(rows):
            write(tenant, other, row, **({"id": coming.id} if number == 0 else {}))
        late = tenant.sent("failed", 3, id=coming.id, text="Other", error="no")
        answer = tenant.apply(
            coming,
            tenant.arrived(1, wa_message_id="W1", outgoing=True),
            tenant.arrived(2, wa_message_id="W2", media_state="stored"),
            late,
            tenant.status("read", 4, "T1"),
            tenant.edit("Edited", 5, "W1"),
            tenant.reaction("👍", 6, "W1"),
            tenant.reaction(None, 7, "T1", outgoing=True),
            tenant.session("connected", 8),
        )
        assert (answer["refused"], answer["set_aside"]) == ([], [])
        assert dump(other) == before


def test_a_forged_client_marks_nothing_read(tenant: Tenant, other: Tenant) -> None:
    """A user's row names another organization's client: its messages stay unread."""
    other.apply(other.arrived(wa_message_id="W1"))
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    write(
        tenant,
        other,
        {"metadata": {"echo": True}, "created_at": at(3600), "is_foreign": True},
        is_outgoing=True,
    )
    other.apply(other.arrived(1, wa_message_id="W2"))
    assert [row["is_read"] for row in other.messages()] == [False, False]


def test_a_row_of_another_organization_captures_no_message(tenant: Tenant, other: Tenant) -> None:
    """It holds the id of the message: the message is a dead letter, the row stays as it is."""
    other.apply(other.arrived(wa_message_id="W0"))
    coming = tenant.sent()
    write(other, tenant, {"metadata": {}, "created_at": at(0)}, id=coming.id)
    before = dump(other)
    answer = tenant.apply(coming, coming.model_copy(update={"status": "failed"}), tenant.sent())
    assert [each["row"] for each in answer["refused"]] == [0, 1]
    assert len(tenant.messages()) == 1
    assert dump(other) == before


def acquaintance(tenant: Tenant) -> Any:
    query = "select wpp_acquaintance(%s, %s) as it"
    return tenant.rows(query, tenant.integration, PHONE)[0]["it"]


def test_a_foreign_row_changes_no_acquaintance(tenant: Tenant, other: Tenant) -> None:
    """A user writes rows that name the client and the number of another organization."""
    tenant.add_client(PHONE)
    other.add_client(PHONE)
    for moment in (at(0), at(3600)):
        write(other, tenant, {"metadata": {}, "created_at": moment, "is_foreign": True})
        assert acquaintance(tenant) == "stranger"
    tenant.apply(tenant.sent("sent", task_id="T1"))
    assert acquaintance(tenant) == "known"


@pytest.mark.parametrize("moment", [each for each in HOSTILE_TIMES if each != TIME])
def test_a_time_that_no_message_has_changes_no_acquaintance(
    tenant: Tenant, other: Tenant, moment: str | None
) -> None:
    tenant.add_client(PHONE)
    write(tenant, other, {"metadata": {}, "created_at": moment}, is_outgoing=False)
    assert acquaintance(tenant) == "stranger"
    write(tenant, other, {"metadata": {}, "created_at": TIME}, is_outgoing=False)
    assert acquaintance(tenant) == str(int(at(1).timestamp() * 1000))


def test_foreign_rows_and_hostile_times_are_no_evidence(tenant: Tenant, other: Tenant) -> None:
    """Of which messages of unknown delivery the orphan reports of an account may be about."""
    query = "select wpp_evidence(%s) as it"
    tenant.apply(tenant.sent("unknown"), tenant.status("sent", 3, "T9"))
    before = tenant.rows(query, at(-60))[0]["it"]
    assert len(before["messages"]) == len(before["reports"]) == 1
    forged = {"metadata": {"phone": PHONE}, "is_outgoing": True, "message_status": "unknown"}
    other.add_client(PHONE)
    write(other, tenant, {**forged, "created_at": TIME, "is_foreign": True})
    for moment in ("infinity", "294276-12-31", "2099-01-01T00:00:00Z"):
        write(tenant, other, {**forged, "created_at": moment})
    assert tenant.rows(query, at(-60))[0]["it"] == before


def test_a_row_without_a_time_gets_its_sender_and_its_history(tenant: Tenant) -> None:
    """A user has taken or changed the times: outcomes are applied, and times are those of now."""
    lid = "123456789012345@lid"
    for moment in HOSTILE_TIMES:
        tenant.apply(tenant.arrived(0, phone="", lid=lid, wa_message_id="W1"))
        tenant.db.execute("update chat_messages set created_at = %s", (moment,))
        tenant.db.execute("delete from wpp_message_history")
        answer = tenant.apply(
            tenant.arrived(1, lid=lid, wa_message_id="W2"), tenant.status("read", 2, "W1")
        )
        assert (answer["refused"], answer["set_aside"]) == ([], [])
        old = "select count(*) as it from wpp_message_history where at not between %s and now()"
        assert tenant.rows(old, "1970-01-01")[0]["it"] == 0
        tenant.db.execute("delete from chat_messages")
        tenant.db.execute("delete from wpp.hidden_ids")
        tenant.db.execute("delete from wpp.conversations")

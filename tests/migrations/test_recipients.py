"""Recipients: their phones, and the number on which each wrote last, found by indexes."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.migrations.conftest import PHONE, Db, Tenant
from tests.migrations.test_contacts import add_number, add_teacher

READ = """
select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as tuples
from pg_stat_xact_user_tables where schemaname = 'public'
"""
MESSAGES = 3000


def find(tenant: Tenant, *wanted: dict[str, Any]) -> list[dict[str, Any]]:
    listed = [
        {"n": n, "wants_last": True, **{name: str(value) for name, value in each.items()}}
        for n, each in enumerate(wanted)
    ]
    return tenant.rows(
        "select * from public.wpp_find_recipients(%s, %s)", tenant.id, json.dumps(listed)
    )


def add_messages(
    tenant: Tenant, count: int, *, outgoing: bool, client: UUID | None = None, **more: Any
) -> None:
    """Add messages of the last `count` s, one each second, `ago_s` earlier."""
    tenant.db.execute(
        "insert into chat_messages (organization_id, client_id, teacher_id, integration_id, "
        "message_text, message_type, is_outgoing, created_at) "
        "select %s, %s, %s, %s, 'Hi', 'client', %s, now() - make_interval(secs => n + %s) "
        "from generate_series(1, %s) as n",
        (
            tenant.id,
            client,
            more.get("teacher"),
            more.get("number", tenant.integration),
            outgoing,
            more.get("ago_s", 0),
            count,
        ),
    )


@pytest.mark.parametrize("stored", ["+7 (999) 000-11-22", "8 999 000 11 22", "9990001122", PHONE])
def test_a_phone_means_the_contact_in_any_spelling(tenant: Tenant, stored: str) -> None:
    client = tenant.add_client(stored)
    add_messages(tenant, 1, outgoing=False, client=client)
    (found,) = find(tenant, {"phone": PHONE})
    assert (found["has_client"], found["last_integration_id"]) == (False, tenant.integration)
    assert find(tenant, {"phone": "79995556677"})[0]["last_integration_id"] is None


def test_the_latest_number_counts_among_all_contacts_of_a_phone(tenant: Tenant) -> None:
    """A teacher and a client by a further number; what we sent does not count."""
    client, teacher = tenant.add_client("79995556677"), add_teacher(tenant, PHONE)
    add_number(tenant, client, PHONE)
    first, second, third = uuid4(), uuid4(), uuid4()
    add_messages(tenant, 1, outgoing=False, client=client, number=first, ago_s=30)
    add_messages(tenant, 1, outgoing=False, teacher=teacher, number=second, ago_s=20)
    add_messages(tenant, 1, outgoing=True, client=client, number=third)
    found = find(tenant, {"phone": PHONE}, {"client_id": client}, {"teacher_id": teacher})
    assert [each["last_integration_id"] for each in found] == [second, first, second]
    assert [each["phone"] for each in found] == [None, "79995556677", PHONE]


def test_contacts_of_another_organization_are_not_there(tenant: Tenant, other: Tenant) -> None:
    """By id and by phone."""
    client, teacher = other.add_client(PHONE), add_teacher(other, PHONE)
    add_messages(other, 1, outgoing=False, client=client)
    for found in find(tenant, {"client_id": client}, {"teacher_id": teacher}, {"phone": PHONE}):
        assert (found["has_client"], found["has_teacher"]) == (False, False)
        assert (found["phone"], found["last_integration_id"]) == (None, None)


@pytest.mark.parametrize("emptied", [False, True], ids=["fresh", "emptied"])
def test_few_rows_are_read_for_each_recipient(untouched: Db, *, emptied: bool) -> None:
    """However many messages a contact has, however long ago it wrote, whatever Postgres knows.

    `emptied`: Postgres takes a table that was analyzed without rows for one of a single row.
    """
    tenant = Tenant(untouched, "0000000000041").connect()
    if emptied:
        tenant.add_client(PHONE)
        untouched.execute("delete from clients")
        untouched.execute("analyze clients")
    tenant.db.execute(
        "insert into clients (organization_id, name, phone) "
        "select %s, 'Other', '7888' || lpad(n::text, 7, '0') from generate_series(1, 2000) as n",
        (tenant.id,),
    )
    client = tenant.add_client(PHONE)
    add_messages(tenant, 1, outgoing=False, client=client, ago_s=2 * MESSAGES)
    add_messages(tenant, MESSAGES, outgoing=True, client=client)
    wanted = [{"phone": f"7888{n:07}"} for n in range(1, 100)]
    tenant.db.execute("select pg_stat_force_next_flush()")
    with tenant.db.transaction():
        found = find(tenant, {"client_id": client}, {"phone": PHONE}, *wanted)
        read = {row["relname"]: row["tuples"] for row in tenant.rows(READ)}
    assert [each["last_integration_id"] for each in found[:2]] == [tenant.integration] * 2
    assert read["chat_messages"] <= 4
    assert read["clients"] <= 2 * len(found)

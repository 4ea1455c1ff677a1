"""Contacts: found in any spelling of the phone, created where unknown."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.migrations.conftest import PHONE, Tenant, at


def add_teacher(tenant: Tenant, phone: str, *, active: bool = True) -> UUID:
    teacher = uuid4()
    tenant.db.execute(
        "insert into teachers (id, organization_id, first_name, phone, is_active) values (%s, %s, "
        "'Olga', %s, %s)",
        (teacher, tenant.id, phone, active),
    )
    return teacher


def add_number(tenant: Tenant, client: UUID, phone: str) -> None:
    tenant.db.execute(
        "insert into client_phone_numbers (client_id, phone) values (%s, %s)", (client, phone)
    )


@pytest.mark.parametrize("stored", ["+7 (999) 000-11-22", "8 999 000 11 22", "9990001122", PHONE])
def test_a_client_is_found_in_any_spelling(tenant: Tenant, stored: str) -> None:
    client = tenant.add_client(stored)
    tenant.apply(tenant.arrived())
    assert tenant.message()["client_id"] == client
    assert len(tenant.clients()) == 1


def test_a_teacher_comes_before_a_client(tenant: Tenant) -> None:
    tenant.add_client(PHONE)
    teacher = add_teacher(tenant, "8 999 000 11 22")
    tenant.apply(tenant.arrived())
    row = tenant.message()
    assert (row["teacher_id"], row["client_id"], row["metadata"]["teacher_id"]) == (
        teacher,
        None,
        str(teacher),
    )
    assert "contact" not in row["metadata"]


def test_a_deleted_teacher_is_no_contact(tenant: Tenant) -> None:
    add_teacher(tenant, PHONE, active=False)
    tenant.apply(tenant.arrived())
    row = tenant.message()
    assert (row["teacher_id"], row["client_id"]) == (None, tenant.clients()[0]["id"])


def test_a_further_number_of_a_client_is_the_client(tenant: Tenant) -> None:
    client = tenant.add_client("79995556677")
    add_number(tenant, client, "+7 999 000-11-22")
    tenant.apply(tenant.arrived())
    assert tenant.message()["client_id"] == client


def test_a_client_s_first_number_comes_before_another_one_s_further_number(tenant: Tenant) -> None:
    add_number(tenant, tenant.add_client("79995556677"), PHONE)
    client = tenant.add_client(PHONE)
    tenant.apply(tenant.arrived())
    assert tenant.message()["client_id"] == client


def test_of_two_matches_the_newest_active_one_is_taken_and_flagged(tenant: Tenant) -> None:
    tenant.add_client(PHONE, created_at=at(-300))
    newest = tenant.add_client("8" + PHONE[1:], created_at=at(-200))
    tenant.add_client("+" + PHONE, created_at=at(-100), is_active=False)
    tenant.apply(tenant.arrived())
    row = tenant.message()
    assert (row["client_id"], row["metadata"]["contact"]) == (newest, "ambiguous")


def test_a_deleted_client_comes_back(tenant: Tenant) -> None:
    client = tenant.add_client(PHONE, is_active=False)
    tenant.apply(tenant.arrived())
    assert tenant.message()["client_id"] == client
    assert [row["is_active"] for row in tenant.clients()] == [True]


def test_an_active_further_number_comes_before_a_deleted_client(tenant: Tenant) -> None:
    tenant.add_client(PHONE, is_active=False)
    client = tenant.add_client("79995556677")
    add_number(tenant, client, PHONE)
    tenant.apply(tenant.arrived())
    assert tenant.message()["client_id"] == client
    assert sorted(row["is_active"] for row in tenant.clients()) == [False, True]


def test_two_organizations_may_know_the_same_phone(tenant: Tenant, other: Tenant) -> None:
    theirs = other.add_client(PHONE)
    tenant.apply(tenant.arrived(), other.arrived(), tenant.arrived(1))
    (client,) = tenant.clients()
    assert {row["client_id"] for row in tenant.messages()} == {client["id"]}
    assert other.message()["client_id"] == theirs
    assert len(other.clients()) == 1


def test_an_unknown_sender_is_named_by_what_they_call_themselves(tenant: Tenant) -> None:
    tenant.apply(
        tenant.arrived(peer_name="  "), tenant.arrived(1, phone="79995556677", peer_name=" Ivan ")
    )
    assert sorted(client["name"] for client in tenant.clients()) == [PHONE, "Ivan"]


def test_a_name_that_comes_later_replaces_the_phone_but_no_given_name(tenant: Tenant) -> None:
    tenant.add_client("79995556677", name="Anna from work")
    for name in (None, "Ivan", "Ivan the Second"):
        tenant.apply(
            tenant.arrived(peer_name=name), tenant.arrived(phone="79995556677", peer_name=name)
        )
    assert sorted(client["name"] for client in tenant.clients()) == ["Anna from work", "Ivan"]


def test_a_first_message_to_an_unknown_phone_makes_its_client(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("queued"))
    (client,) = tenant.clients()
    assert tenant.message()["client_id"] == client["id"]
    assert client["name"] == PHONE


def test_a_client_named_by_the_sender_is_used_whatever_the_phone(tenant: Tenant) -> None:
    client, teacher = tenant.add_client("79995556677"), add_teacher(tenant, "79995556688")
    tenant.add_client(PHONE)
    tenant.apply(tenant.sent(client_id=client), tenant.sent(second=1, teacher_id=teacher))
    first, second = tenant.messages()
    assert (first["client_id"], first["teacher_id"]) == (client, None)
    assert (second["client_id"], second["teacher_id"]) == (None, teacher)


def test_a_client_of_another_organization_is_not_used(tenant: Tenant, other: Tenant) -> None:
    theirs, teacher = other.add_client("79995556677"), add_teacher(other, "79995556688")
    tenant.apply(tenant.sent(client_id=theirs), tenant.sent(second=1, teacher_id=teacher))
    (client,) = tenant.clients()
    assert [(row["client_id"], row["teacher_id"]) for row in tenant.messages()] == [
        (client["id"], None)
    ] * 2


def test_a_peer_without_a_phone_has_no_contact(tenant: Tenant) -> None:
    """Least of all that of the clients whose phone is unknown, which the CRM writes as a dash."""
    tenant.add_client("-")
    tenant.apply(tenant.arrived(phone=""))
    row = tenant.message()
    assert (row["client_id"], row["metadata"]["contact"]) == (None, "no_phone")


def test_many_messages_of_an_unknown_sender_make_one_client(tenant: Tenant) -> None:
    tenant.apply(*(tenant.arrived(n, wa_message_id=f"W{n}") for n in range(50)))
    assert len(tenant.clients()) == 1
    assert len(tenant.messages()) == 50


def test_two_recorders_make_one_client(tenant: Tenant, database_url: str) -> None:
    def record(n: int) -> None:
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as db:
            mine = Tenant(db, tenant.account, id=tenant.id, integration=tenant.integration)
            for k in range(5):
                mine.apply(
                    mine.arrived(k, wa_message_id=f"W{k}"),
                    mine.arrived(k, wa_message_id=f"W{n}.{k}"),
                )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(4)))
    assert len(tenant.clients()) == 1
    assert len(tenant.messages()) == 5 + 4 * 5


def test_recorders_that_share_tenants_do_not_deadlock(
    tenant: Tenant, other: Tenant, database_url: str
) -> None:
    """Each batch has outcomes of both organizations, in opposite order."""

    def record(turned: bool) -> None:  # noqa: FBT001
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as db:
            both = [
                Tenant(db, each.account, id=each.id, integration=each.integration)
                for each in ([other, tenant] if turned else [tenant, other])
            ]
            for k in range(15):
                both[0].apply(*(each.arrived(k, wa_message_id=f"W{k}") for each in both))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(record, [False, True]))
    assert len(tenant.messages()) == len(other.messages()) == 15

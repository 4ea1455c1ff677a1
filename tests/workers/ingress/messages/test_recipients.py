"""Recipients by phone, client or teacher; an invalid recipient is refused with its field."""

from uuid import uuid4

import pytest

from sandbox.supabase.project import Supabase
from shared.lanes.records import find_record
from shared.redis import keys
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.messages.contacts import Table, add_contact, add_further_phone
from tests.workers.ingress.tenants import Tenant

PHONE = "79990001122"


def find_phone(tenant: Tenant, **fields: object) -> str:
    """Send a message; return the phone of the lane that it waits in."""
    answer = tenant.post("/v1/messages", {"text": "Hello", **fields})
    assert answer.status_code == 202, answer.text
    record = find_record(tenant.client, answer.json()["id"])
    assert record
    return record.lane.rsplit(":", 1)[-1]


@pytest.mark.parametrize("table", ["clients", "teachers"])
def test_a_contact_is_enough(tenant: Tenant, database_url: str, table: Table) -> None:
    """Its stored phone is read as a person writes it."""
    tenant.add_integration("42")
    contact_id = add_contact(database_url, tenant.id, "8 (999) 000-11-22", table)
    assert find_phone(tenant, **{f"{table[:-1]}_id": str(contact_id)}) == PHONE


def test_a_phone_wins_over_the_stored_one(tenant: Tenant, database_url: str) -> None:
    """The message is the client's all the same."""
    tenant.add_integration("42")
    client_id = add_contact(database_url, tenant.id, "79991112233")
    assert find_phone(tenant, to=f"+{PHONE}", client_id=str(client_id)) == PHONE


@pytest.mark.parametrize("first", [None, "", " - "], ids=["null", "empty", "dash"])
def test_a_client_may_have_a_further_phone_only(
    tenant: Tenant, database_url: str, first: str | None
) -> None:
    """A number that is enabled for WhatsApp comes first."""
    tenant.add_integration("42")
    client_id = add_contact(database_url, tenant.id, first)
    add_further_phone(database_url, client_id, "+7 999 111-22-33")
    add_further_phone(database_url, client_id, "+7 999 000-11-22", on_whatsapp=True)
    assert find_phone(tenant, client_id=str(client_id)) == PHONE


@pytest.mark.parametrize(
    ("phone", "words"), [(None, "no phone number"), ("call Anna", "stored phone")]
)
@pytest.mark.parametrize("table", ["clients", "teachers"])
def test_a_contact_without_a_readable_phone_is_refused(
    tenant: Tenant, database_url: str, table: Table, phone: str | None, words: str
) -> None:
    """422 names the field that named the contact, and shows no phone."""
    tenant.add_integration("42")
    field = f"{table[:-1]}_id"
    contact_id = add_contact(database_url, tenant.id, phone, table)
    answer = tenant.post("/v1/messages", {"text": "Hello", field: str(contact_id)})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert words in error["message"]


def test_nobody_and_two_contacts_are_refused(tenant: Tenant) -> None:
    """A recipient is a phone, or exactly one contact."""
    tenant.add_integration("42")
    for fields in ({}, {"client_id": str(uuid4()), "teacher_id": str(uuid4())}):
        answer = tenant.post("/v1/messages", {"text": "Hello", **fields})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "to")


@pytest.mark.parametrize("table", ["clients", "teachers"])
@pytest.mark.parametrize("to", [None, f"+{PHONE}"], ids=["contact", "phone"])
def test_contacts_of_another_organization_are_not_found(
    tenant: Tenant,
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
    database_url: str,
    table: Table,
    to: str | None,
) -> None:
    """Whether or not a phone is given, and nothing is accepted; an unknown id answers alike."""
    tenant.add_integration("42")
    with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as other:
        theirs = add_contact(database_url, other.id, PHONE, table)
    field = f"{table[:-1]}_id"
    for contact_id in (theirs, uuid4()):
        body = {"text": "Hello", field: str(contact_id), **({"to": to} if to else {})}
        answer = tenant.post("/v1/messages", body)
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("This organization has no")
        assert field in answer.json()["detail"]
    assert tenant.client.xlen(keys.OUTBOX) == 0


def test_a_repeat_succeeds_after_its_recipient_is_gone(tenant: Tenant, database_url: str) -> None:
    """The key stands for the message; a different message under it is refused."""
    tenant.add_integration("42")
    client_id = add_contact(database_url, tenant.id, PHONE)
    body = {"text": "Hello", "client_id": str(client_id)}
    first = tenant.post("/v1/messages", body, key="k")
    tenant.database._connection.rows(  # noqa: SLF001 - no method deletes a client
        tenant.database._connection.table("clients").delete().eq("id", str(client_id))  # noqa: SLF001
    )
    again = tenant.post("/v1/messages", body, key="k")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.json()["integration_id"] == first.json()["integration_id"]
    other = tenant.post("/v1/messages", {**body, "text": "Other"}, key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")

"""Pacing in Supabase: warm-ups begin with the first connection; a number knows who wrote to it."""

from typing import Any
from uuid import UUID

import pytest

from tests.migrations.conftest import PHONE, Tenant, at


def pacing_of(tenant: Tenant) -> dict[str, Any]:
    found = tenant.rows("select wpp_pacing_of(%s) as it", tenant.id)[0]["it"]
    numbers: dict[UUID, dict[str, Any]] = {UUID(each["integration_id"]): each for each in found}
    return numbers.get(tenant.integration, {})


def acquaintance(tenant: Tenant, phone: str = PHONE, integration: UUID | None = None) -> str:
    query = "select wpp_acquaintance(%s, %s) as it"
    return str(tenant.rows(query, integration or tenant.integration, phone)[0]["it"])


def test_a_warm_up_begins_with_the_first_connection(tenant: Tenant) -> None:
    """Before it, it has always just begun; a later connection does not begin it anew."""
    query = "select extract(epoch from now() - %s::timestamptz) < 60 as it"
    assert tenant.rows(query, pacing_of(tenant)["warm_up_from"])[0]["it"]
    tenant.apply(tenant.session("connected", 1))
    tenant.apply(tenant.session("disconnected", 2), tenant.session("connected", 3))
    began = pacing_of(tenant)["warm_up_from"]
    assert tenant.rows("select %s::timestamptz as it", began)[0]["it"] == at(1)


def test_a_number_from_before_the_migration_has_no_warm_up(tenant: Tenant) -> None:
    tenant.db.execute("insert into wpp.first_connections values (%s, null)", (tenant.integration,))
    tenant.apply(tenant.session("connected", 1))
    assert pacing_of(tenant) == {}, "a number that differs in nothing is not listed"


def test_a_stranger_becomes_known_and_then_a_person_who_wrote(tenant: Tenant) -> None:
    """A message that waits, or failed, makes no person known."""
    assert acquaintance(tenant) == "stranger"
    tenant.apply(tenant.sent("queued"))
    assert acquaintance(tenant) == "stranger"
    tenant.apply(tenant.sent("sent", task_id="T1"))
    assert acquaintance(tenant) == "known"
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    wrote = tenant.rows("select max(created_at) as it from chat_messages where not is_outgoing")
    assert acquaintance(tenant) == str(int(wrote[0]["it"].timestamp() * 1000))


def test_who_wrote_to_another_number_is_a_stranger(tenant: Tenant, other: Tenant) -> None:
    """To WhatsApp, and all the more in another organization."""
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    assert acquaintance(other) == "stranger"
    second = tenant.rows("select gen_random_uuid() as it")[0]["it"]
    tenant.db.execute(
        "select wpp_save_integration(%s, %s, 'Second', '0000000000098', 'key')", (second, tenant.id)
    )
    assert acquaintance(tenant, integration=second) == "stranger"


@pytest.mark.parametrize("phone", ["", "no phone", "1" * 40], ids=["empty", "words", "long"])
def test_any_text_may_be_asked_for(tenant: Tenant, phone: str) -> None:
    assert acquaintance(tenant, phone) == "stranger"

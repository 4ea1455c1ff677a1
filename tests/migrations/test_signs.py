"""Signs of life: what a batch records about a number, and who may read it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import supabase

from tests.migrations.conftest import Tenant
from tests.migrations.test_access import read, sign_in

MakeClient = Callable[..., supabase.Client]


def signs(tenant: Tenant) -> dict[str, bool]:
    """Return which signs of life a number has."""
    columns = (
        "inbound_at is not null as inbound, ack_at is not null as ack, "
        "awaited_since is not null as awaited"
    )
    found = tenant.rows(
        f"select {columns} from wpp_integration_activity where integration_id = %s",  # noqa: S608
        tenant.integration,
    )
    return found[0] if found else {}


def test_a_sent_message_awaits_a_report(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("queued"))
    assert signs(tenant) == {}
    tenant.apply(tenant.sent("sent", task_id="T1"))
    assert signs(tenant) == {"inbound": False, "ack": False, "awaited": True}


def test_awaited_since_is_the_first_message_without_a_report(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("sent", task_id="T1"))
    first = tenant.rows("select awaited_since from wpp_integration_activity")
    tenant.apply(tenant.sent("sent", task_id="T2"))
    assert tenant.rows("select awaited_since from wpp_integration_activity") == first


def test_any_report_or_message_ends_the_wait(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("sent", task_id="T1"))
    tenant.apply(tenant.status("delivered", 1, "T1"))
    assert signs(tenant) == {"inbound": False, "ack": True, "awaited": False}
    tenant.apply(tenant.sent("sent", task_id="T2"))
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    assert signs(tenant) == {"inbound": True, "ack": True, "awaited": False}


def test_a_failure_is_no_sign_of_life(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("sent", task_id="T1"))
    tenant.apply(tenant.status("failed", 1, "T1"))
    assert signs(tenant)["awaited"]


def test_a_message_with_an_earlier_report_awaits_none(tenant: Tenant) -> None:
    """The platform's report may be recorded before our own."""
    message = uuid4()
    tenant.apply(tenant.sent("queued", id=message, task_id="T1"))
    tenant.apply(tenant.status("delivered", 1, "T1"))
    tenant.apply(tenant.sent("sent", id=message, task_id="T1"))
    assert signs(tenant) == {"inbound": False, "ack": True, "awaited": False}


def test_numbers_do_not_share_signs(tenant: Tenant, other: Tenant) -> None:
    tenant.apply(tenant.sent("sent", task_id="T1"))
    other.apply(other.arrived(wa_message_id="W1"))
    assert signs(tenant) == {"inbound": False, "ack": False, "awaited": True}
    assert signs(other) == {"inbound": True, "ack": False, "awaited": False}


def test_degraded_is_ordered_among_the_other_states(tenant: Tenant) -> None:
    tenant.apply(tenant.session("connected", 1))
    tenant.apply(tenant.session("degraded", 2))
    tenant.apply(tenant.session("connected", 1.5))
    assert tenant.rows("select status from whatsapp_sessions") == [{"status": "degraded"}]
    tenant.apply(tenant.session("connected", 2))
    assert tenant.rows("select status from whatsapp_sessions") == [{"status": "connected"}]


def test_users_read_their_own_numbers_signs_only(
    tenant: Tenant, other: Tenant, make_client: MakeClient
) -> None:
    for each in (tenant, other):
        each.apply(each.arrived(wa_message_id="W1"))
    anna, boris = (
        sign_in(tenant, make_client, "a@example.org"),
        sign_in(other, make_client, "b@example.org"),
    )
    for table in ("wpp_integration_activity", "wpp_integrations"):
        seen: list[list[dict[str, Any]]] = [read(client, table) or [] for client in (anna, boris)]
        assert [[row["organization_id"] for row in rows] for rows in seen] == [
            [str(tenant.id)],
            [str(other.id)],
        ]
        assert not read(make_client(), table)
    assert anna.table("wpp_integrations").select("last_inbound_at").execute().data != [
        {"last_inbound_at": None}
    ]
    assert read(anna, "wpp_integration_activity", "integration_id") == [
        {"integration_id": str(tenant.integration)}
    ]

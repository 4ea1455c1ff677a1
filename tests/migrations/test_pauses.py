"""Pauses of numbers: noted once, in the history and as events, whoever pauses."""

from typing import Any

import psycopg
import pytest

from tests.migrations.conftest import Tenant
from tests.migrations.test_events import list_types, read


def pause(tenant: Tenant) -> None:
    tenant.db.execute(
        "update messenger_integrations set is_enabled = false where id = %s", (tenant.integration,)
    )


def resume(tenant: Tenant) -> None:
    """As half of the CRM's code does."""
    tenant.db.execute(
        "update messenger_integrations set is_active = true where id = %s", (tenant.integration,)
    )


def history(tenant: Tenant, max_rows: int = 10, until: str | None = None) -> list[dict[str, Any]]:
    (row,) = tenant.rows(
        "select wpp_number_history(%s, %s, %s, %s::timestamptz) as it",
        tenant.integration,
        tenant.id,
        max_rows,
        until,
    )
    return list(row["it"])


def test_a_pause_and_its_end_are_events(tenant: Tenant) -> None:
    """Each is told once: also by the CRM's other column, and not where nothing changes."""
    pause(tenant)
    pause(tenant)
    resume(tenant)
    tenant.db.execute("update messenger_integrations set is_enabled = null, name = 'Other'")
    paused, resumed = read(tenant)["events"]
    assert (paused["type"], resumed["type"]) == ("number.paused", "number.resumed")
    assert paused["data"] == {
        "integration_id": str(tenant.integration),
        "account": tenant.account,
        "is_enabled": False,
    }
    assert resumed["data"]["is_enabled"] is True


def test_the_history_has_states_and_pauses_in_their_order(tenant: Tenant, other: Tenant) -> None:
    tenant.apply(tenant.session("starting", -20), tenant.session("connected", -10))
    pause(tenant)
    resume(tenant)
    pause(other)
    found = history(tenant)
    assert [row["status"] for row in found] == ["resumed", "paused", "connected", "starting"]
    assert found[1] == {**found[1], "reason": "paused", "error": None, "account": tenant.account}
    assert [row["status"] for row in history(tenant, 2)] == ["resumed", "paused"]
    older = history(tenant, 2, found[1]["at"])
    assert [row["status"] for row in older] == ["connected", "starting"]
    (row,) = tenant.rows(
        "select wpp_number_history(%s, %s, 10) as it", tenant.integration, other.id
    )
    assert row["it"] == []


def test_a_pause_waits_for_nobody_and_its_event_is_not_lost(
    tenant: Tenant, database_url: str
) -> None:
    """A recorder has the organization: its events keep their order, and the pause is told after."""
    with psycopg.connect(database_url) as recorder:
        recorder.execute("select wpp.lock_organization(%s)", (tenant.id,))
        tenant.db.execute("set lock_timeout = '500ms'")
        pause(tenant)
        assert list_types(tenant) == []
        recorder.rollback()
    assert tenant.rows("select wpp_tell_pauses() as it") == [{"it": 1}]
    assert tenant.rows("select wpp_tell_pauses() as it") == [{"it": 0}]
    assert list_types(tenant) == ["number.paused"]
    with psycopg.connect(database_url) as recorder:
        recorder.execute("select wpp.lock_organization(%s)", (tenant.id,))
        resume(tenant)
        recorder.rollback()
    pause(tenant)
    assert list_types(tenant) == ["number.paused", "number.resumed", "number.paused"]


def test_of_a_number_the_latest_hundred_remain(tenant: Tenant) -> None:
    for each in range(103):
        (resume if each % 2 else pause)(tenant)
    (row,) = tenant.rows("select count(*) as count, bool_and(is_told) as told from wpp.pauses")
    assert row == {"count": 100, "told": True}


def test_a_number_is_paused_although_that_cannot_be_noted(tenant: Tenant) -> None:
    tenant.db.execute("alter table wpp.pauses add constraint broken check (false) not valid")
    pause(tenant)
    tenant.db.execute("alter table wpp.pauses drop constraint broken")
    (row,) = tenant.rows(
        "select is_enabled from messenger_integrations where id = %s", tenant.integration
    )
    assert row == {"is_enabled": False}


def test_users_read_no_pauses_themselves(tenant: Tenant) -> None:
    for statement in ("select * from wpp.pauses", "select wpp_tell_pauses()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tenant.db.execute(f"set role authenticated; {statement}")
        tenant.db.execute("reset role")

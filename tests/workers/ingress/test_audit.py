"""A log line for each effect."""

from typing import Any

import pytest

from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.tenants import Tenant

HELLO = {"to": "+79990001122", "text": "Hello"}


def read_audit(ingress: IngressProcess, tenant: Tenant) -> list[dict[str, Any]]:
    """Return the lines about an organization."""
    return [
        line
        for line in ingress.read_log()
        if line["event"] == "audit.effect" and line["organization_id"] == str(tenant.id)
    ]


def test_each_effect_leaves_a_line(ingress_with_supabase: IngressProcess, tenant: Tenant) -> None:
    """Who, for whom, what, from where; a repeated request is marked."""
    number = tenant.add_integration("42")
    sent = [tenant.post("/v1/messages", HELLO, key="k") for _ in range(2)]
    tenant.http.patch(number, json={"name": "Shop"}, headers={"X-Forwarded-For": "203.0.113.7"})
    tenant.http.delete(number)
    lines = wait_until(
        lambda: found if len(found := read_audit(ingress_with_supabase, tenant)) == 4 else None,
        "four lines",
    )
    assert [line["operation"] for line in lines] == [
        "send_message",
        "send_message",
        "update_integration",
        "disconnect_integration",
    ]
    assert [line["replayed"] for line in lines] == [False, True, False, False]
    assert lines[0]["resource"] == sent[0].headers["Location"]
    assert [line["resource"] for line in lines[2:]] == [number, number]
    (key,) = tenant.database.service_keys.list_all()
    assert {line["caller"] for line in lines} == {f"key {key.id}"}
    assert [line["address"] for line in lines] == ["127.0.0.1"] * 2 + ["203.0.113.7", "127.0.0.1"]


@pytest.mark.parametrize("missing", [False, True])
def test_what_has_no_effect_leaves_no_line(
    ingress_with_supabase: IngressProcess, tenant: Tenant, *, missing: bool
) -> None:
    """Reads, and requests that are refused. The line of a later effect is the only one."""
    tenant.http.get("/v1/integrations")
    if missing:
        tenant.post("/v1/messages", HELLO)  # no number: 404
    tenant.post("/v1/messages", {})
    tenant.post("/v1/integrations", {})
    (line,) = wait_until(lambda: read_audit(ingress_with_supabase, tenant), "a line")
    assert line["operation"] == "connect_integration"

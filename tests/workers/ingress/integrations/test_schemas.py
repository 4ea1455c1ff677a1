"""The state of an integration in each status."""

from typing import Any

import pytest

from shared.errors import InvalidApiKeyError
from shared.lanes.types import Settled
from tests.workers.ingress.tenants import Tenant


def failed(code: str, detail: str) -> Settled:
    """Return the settlement of a provisioning event that failed."""
    return Settled("failed", fields={"reason": detail, "code": code})


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (InvalidApiKeyError.code, "force_recreate"),
        ("refused", "reconnect"),
        ("expired", "reconnect"),
    ],
)
def test_a_failed_integration_has_reason_error_and_next_step(
    tenant: Tenant, code: str, step: str
) -> None:
    """The code is in `reason`, the sentence in `error`, the remedy in `next_step`."""
    path = tenant.post("/v1/integrations", {}).headers["Location"]
    tenant.settle_next("provision", failed(code, "403: no"))
    found = tenant.http.get(path).json()
    assert (found["success"], found["status"], found["reason"], found["error"]) == (
        False,
        "error",
        code,
        "403: no",
    )
    assert found["next_step"] == step
    assert found["advice"]
    assert found["error_at"]
    assert tenant.http.get("/v1/integrations").json() == [found]


@pytest.mark.parametrize(
    ("status", "step"),
    [
        ("starting", "wait"),
        ("qr_issued", "scan"),
        ("connected", None),
        ("degraded", "reconnect"),
        ("disconnected", "reconnect"),
        ("error", "reconnect"),
    ],
)
def test_each_status_has_its_next_step(tenant: Tenant, status: Any, step: str | None) -> None:
    """With advice, unless there is nothing to do."""
    found = tenant.http.get(tenant.add_integration("42", status)).json()
    assert (found["status"], found["next_step"], found["success"]) == (
        status,
        step,
        status != "error",
    )
    assert bool(found["advice"]) is bool(step)


def test_a_refused_key_is_the_reason_of_the_error(tenant: Tenant) -> None:
    """Also for an integration that has a row."""
    path = tenant.add_integration("42")
    tenant.set_status("42", "error", reason=InvalidApiKeyError.code, error="401: key revoked")
    found = tenant.http.get(path).json()
    assert (found["reason"], found["error"]) == (InvalidApiKeyError.code, "401: key revoked")
    assert found["next_step"] == "force_recreate"


def test_a_connect_in_progress_makes_the_old_status_obsolete(tenant: Tenant) -> None:
    """It is starting, without the earlier error, until the result is recorded."""
    path = tenant.add_integration("42")
    tenant.set_status("42", "error", reason="refused", error="no")
    assert tenant.post(f"{path}/reconnect").json()["status"] == "starting"
    shown = tenant.http.get(path).json()
    assert (shown["status"], shown["error"], shown["qrcode"]) == ("starting", None, None)
    tenant.settle_next("provision", Settled("done"))
    tenant.set_status("42", "connected")
    assert tenant.http.get(path).json()["status"] == "connected"


def test_a_disconnected_integration_is_closing_at_once(tenant: Tenant) -> None:
    """Before a worker handles it; a pending integration is gone."""
    path = tenant.add_integration("42")
    assert tenant.http.delete(path).json()["closing"] is True
    assert tenant.http.get(path).json()["closing"] is True
    coming = tenant.post("/v1/integrations", {"add_new": True}).headers["Location"]
    tenant.http.delete(coming)
    assert tenant.http.get(coming).status_code == 404
    assert [each["closing"] for each in tenant.http.get("/v1/integrations").json()] == [True]

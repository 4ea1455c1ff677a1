"""The state of an integration in each status."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared import routing
from shared.causes import PLATFORM_FAILS_NUMBER
from shared.database import Integration
from shared.errors import InvalidApiKeyError
from shared.events import utc_now
from shared.lanes.types import Settled
from shared.redis import keys
from tests.workers.ingress.tenants import Tenant
from workers.ingress.integrations.schemas import IntegrationState

NOW = utc_now()


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
    assert found["cause"] in {"key_refused", "refused", "expired"}
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


def build_integration(**given: Any) -> Integration:
    defaults = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "name": "Shop",
        "account": "1",
        "is_primary": True,
        "is_enabled": True,
        "status": "connected",
        "status_at": NOW,
    }
    return Integration.model_validate(defaults | given)


def test_a_key_that_was_refused_while_sending_is_said_at_once() -> None:
    """The session counts as connected until the next check."""
    later = NOW + timedelta(seconds=5)
    row = build_integration(last_error="403: Invalid API key", last_error_at=later)
    found = IntegrationState.from_row(row)
    assert (found.status, found.cause, found.cause_at) == ("connected", "key_refused", later)
    assert (found.next_step, found.error) == ("force_recreate", "403: Invalid API key")


def test_an_error_that_is_older_than_the_state_is_not_shown() -> None:
    """A state that has changed since makes its reason obsolete, whoever left it there."""
    before = NOW - timedelta(hours=1)
    found = IntegrationState.from_row(build_integration(last_error="no", last_error_at=before))
    assert (found.error, found.error_at, found.next_step) == (None, None, None)
    assert found.cause == "connected"


def test_an_outage_of_the_platform_is_the_cause(tenant: Tenant) -> None:
    """Of every connected number, or of the number that fails; a limit (429) is no outage."""
    path = tenant.add_integration("42")
    tenant.set_status("42", "connected")
    gate = routing.integration_gate(UUID(path.rpartition("/")[2]))

    def read_cause() -> str:
        return str(tenant.http.get(path).json()["cause"])

    tenant.client.set(keys.gate(gate), "text: 429: slow down")
    tenant.client.hset(keys.CLOSED_GATES, gate, 1_700_000_000_000)
    assert read_cause() == "connected"
    tenant.client.set(keys.gate(gate), PLATFORM_FAILS_NUMBER)
    assert read_cause() == "platform_away"
    tenant.client.delete(keys.gate(gate))
    tenant.client.hdel(keys.CLOSED_GATES, gate)
    assert read_cause() == "connected"
    tenant.client.hset(keys.CLOSED_GATES, routing.PLATFORM_GATE, 1_700_000_000_000)
    assert read_cause() == "platform_away"
    assert tenant.http.get(path).json()["cause_at"].startswith("2023-11-14")


def test_older_statuses_are_those_before_a_time(tenant: Tenant) -> None:
    """With the cause of each."""
    path = tenant.add_integration("42")
    tenant.set_status("42", "disconnected", reason="logout")
    newest, oldest = tenant.http.get(f"{path}/history").json()
    assert (newest["cause"], oldest["cause"]) == ("unlinked", "connected")
    assert tenant.http.get(f"{path}/history", params={"until": newest["at"]}).json() == [oldest]
    assert tenant.http.get(f"{path}/history", params={"until": oldest["at"]}).json() == []

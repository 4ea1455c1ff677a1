"""What an organization is told of its numbers, at each state that they can be in."""

from typing import Any

import pytest

from shared.errors import InvalidApiKeyError
from shared.lanes.client import Settled
from tests.workers.ingress.tenants import Tenant


def failed(code: str, detail: str) -> Settled:
    """Return how a provisioning event fails."""
    return Settled("failed", fields={"reason": detail, "code": code})


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (InvalidApiKeyError.code, "force_recreate"),
        ("refused", "reconnect"),
        ("expired", "reconnect"),
    ],
)
def test_a_number_that_could_not_be_made_says_why_and_what_helps(
    tenant: Tenant, code: str, step: str
) -> None:
    """The code in `reason`, the sentence in `error`, and the step that mends just that."""
    place = tenant.post("/v1/integrations", {}).headers["Location"]
    tenant.settle("provision", failed(code, "403: no"))
    found = tenant.http.get(place).json()
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
def test_each_state_names_the_next_step(tenant: Tenant, status: Any, step: str | None) -> None:
    """With advice in words, unless there is nothing to do."""
    found = tenant.http.get(tenant.number("42", status)).json()
    assert (found["status"], found["next_step"], found["success"]) == (
        status,
        step,
        status != "error",
    )
    assert bool(found["advice"]) is bool(step)


def test_a_number_of_the_platform_that_refuses_its_key_says_so(tenant: Tenant) -> None:
    """As one that is saved, too."""
    place = tenant.number("42")
    tenant.become("42", "error", reason=InvalidApiKeyError.code, error="401: key revoked")
    found = tenant.http.get(place).json()
    assert (found["reason"], found["error"]) == (InvalidApiKeyError.code, "401: key revoked")
    assert found["next_step"] == "force_recreate"


def test_what_is_being_connected_is_not_what_it_was(tenant: Tenant) -> None:
    """From the click on: starting, without the error or the code of before; and then what was found out."""
    place = tenant.number("42")
    tenant.become("42", "error", reason="refused", error="no")
    assert tenant.post(f"{place}/reconnect").json()["status"] == "starting"
    shown = tenant.http.get(place).json()
    assert (shown["status"], shown["error"], shown["qrcode"]) == ("starting", None, None)
    tenant.settle("provision", Settled("done"))
    tenant.become("42", "connected")
    assert tenant.http.get(place).json()["status"] == "connected"


def test_a_number_that_is_not_wanted_is_closing_at_once(tenant: Tenant) -> None:
    """Although its worker has not come to it; one that was never made is gone."""
    place = tenant.number("42")
    assert tenant.http.delete(place).json()["closing"] is True
    assert tenant.http.get(place).json()["closing"] is True
    coming = tenant.post("/v1/integrations", {"add_new": True}).headers["Location"]
    tenant.http.delete(coming)
    assert tenant.http.get(coming).status_code == 404
    assert [each["closing"] for each in tenant.http.get("/v1/integrations").json()] == [True]

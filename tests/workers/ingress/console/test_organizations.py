"""Names of organizations, for pages that read Redis only."""

from uuid import uuid4

from tests.workers.ingress.console.conftest import SignedIn
from tests.workers.ingress.tenants import Tenant


def test_names_by_id(operator: SignedIn, tenant: Tenant) -> None:
    """What has no name is left out."""
    mine, missing = str(tenant.id), str(uuid4())
    assert operator.get("organizations", id=[mine, missing]) == {"names": {mine: "Test"}}
    assert operator.get("organizations", id=missing) == {"names": {}}


def test_so_many_are_named_at_once(operator: SignedIn) -> None:
    for ids in (["42"], [str(uuid4()) for _ in range(201)], []):
        answer = operator.http.get("/console/data/organizations", params={"id": ids})
        assert answer.status_code == 422

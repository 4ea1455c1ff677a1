"""The names of organizations, for the pages that read Redis only: they wait for none."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep

router = APIRouter(prefix="/console/data/organizations", include_in_schema=False)

MAX_ASKED = 200


@router.get("")
def name_organizations(
    operator: OperatorDep,
    state: StateDep,
    id_: Annotated[list[UUID], Query(alias="id", max_length=MAX_ASKED)],
) -> dict[str, Any]:
    """Return the names by id, without those that have none."""
    del operator  # asked for because it has to be signed in
    return {"names": state.database.repair.name_organizations(id_)}

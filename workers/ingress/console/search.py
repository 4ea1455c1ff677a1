"""The page Search: what a phone, an id or a name leads to."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.repair.search import MAX_CHARACTERS, search

router = APIRouter(prefix="/console/data/search", include_in_schema=False)


@router.get("")
def find(
    operator: OperatorDep,
    state: StateDep,
    text: Annotated[str, Query(max_length=MAX_CHARACTERS)] = "",
) -> dict[str, Any]:
    """Return what a text names, the most exact first."""
    del operator
    return {"items": search(text, state.clients, state.database)}

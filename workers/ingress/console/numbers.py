"""The page Numbers: every number with its state, since when and why, and its history."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from shared.errors import NotFoundError
from shared.events import utc_now
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import IntegrationId, StateDep
from workers.status import describe_number

PAGE = 50
HISTORY = 30
STATES = {
    "down": ("disconnected", "error"),
    "degraded": ("degraded",),
    "connected": ("connected",),
    "connecting": ("starting", "qr_issued"),
}

router = APIRouter(prefix="/console/data/numbers", include_in_schema=False)


@router.get("")
def list_numbers(
    operator: OperatorDep,
    state: StateDep,
    organization: UUID | None = None,
    status: Literal["down", "degraded", "connected", "connecting"] | None = None,
    first: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> dict[str, Any]:
    """Return a page of numbers, the latest changes first."""
    del operator  # asked for because it has to be signed in
    found, total = state.database.integrations.list_page(
        organization, STATES[status] if status else (), first, PAGE
    )
    items = [
        {
            **describe_number(each),
            "last_inbound_at": each.last_inbound_at,
            "last_ack_at": each.last_ack_at,
        }
        for each in found
    ]
    following = first + PAGE
    return {"items": items, "total": total, "next": following if following < total else None}


@router.get("/{integration_id}")
def get_number(
    integration_id: IntegrationId, operator: OperatorDep, state: StateDep
) -> dict[str, Any]:
    """Return a number with its history, and how its messages of the last hour ended."""
    del operator  # asked for because it has to be signed in
    number = state.database.integrations.get(integration_id)
    if number is None:
        msg = f"no number {integration_id}"
        raise NotFoundError(msg)
    database = state.database
    since = utc_now() - timedelta(hours=1)
    return {
        **describe_number(number),
        "history": database.integrations.number_history(
            integration_id, number.organization_id, HISTORY
        ),
        "messages": database.integrations.count_messages(
            integration_id, number.organization_id, since
        ),
    }

"""The page Callbacks: where events are posted, each attempt, and posting them again."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.callbacks import Callback
from workers.ingress.callbacks import service
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.repair import callbacks

router = APIRouter(prefix="/console/data/callbacks", include_in_schema=False)

PAGE = 50


class ReplayCallback(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime


@router.get("")
def list_callbacks(
    operator: OperatorDep, state: StateDep, organization_id: UUID | None = None
) -> dict[str, Any]:
    """Return the callbacks, those that fail or are disabled first."""
    del operator
    table = state.database.callbacks
    found = table.list_for(organization_id) if organization_id else table.list_all()
    names = state.database.repair.name_organizations(each.organization_id for each in found)
    return {"items": [_describe(each, names) for each in sorted(found, key=_order)]}


@router.get("/{callback_id}")
def list_deliveries(
    callback_id: UUID, operator: OperatorDep, state: StateDep, before: int | None = None
) -> dict[str, Any]:
    """Return a callback and a page of its attempts, the newest first; raises NotFoundError."""
    del operator
    callback = callbacks.find_callback(callback_id, state.database)
    found = state.database.callbacks.list_deliveries(
        callback.id, callback.organization_id, before, PAGE
    )
    names = state.database.repair.name_organizations([callback.organization_id])
    return {
        "callback": _describe(callback, names),
        "items": [each.model_dump(mode="json", exclude={"callback_id"}) for each in found],
        "next": found[-1].id if len(found) == PAGE else None,
    }


@router.post("/{callback_id}/replay")
def replay_since(
    callback_id: UUID, given: ReplayCallback, operator: OperatorDep, state: StateDep
) -> dict[str, Any]:
    """Have the events since a time posted once more; raises NotFoundError."""
    del operator
    callback = callbacks.replay_since(callback_id, given.since, state.database)
    return {"done": True, "text": f"The events are posted again to {callback.url}."}


@router.post("/{callback_id}/deliveries/{delivery_id}/replay")
async def replay_delivery(
    callback_id: UUID, delivery_id: int, operator: OperatorDep, state: StateDep
) -> dict[str, Any]:
    """Post the event of a delivery once more.

    Raises:
        NotFoundError: the delivery does not exist, or its event is not stored any more.
    """
    del operator
    callback = await run_in_threadpool(callbacks.find_callback, callback_id, state.database)
    posted, _ = await service.replay_delivery(
        callback.id, delivery_id, callback.organization_id, None, state
    )
    return {"done": True, "text": f"{posted.webhook_id} is posted again."}


def _order(callback: Callback) -> tuple[bool, bool, datetime]:
    is_well = callback.is_enabled and callback.failing_since is None
    return is_well, not callback.is_enabled, callback.created_at


def _describe(callback: Callback, names: dict[UUID, str]) -> dict[str, Any]:
    wanted = {"id", "organization_id", "name", "url", "types", "failing_since", "last_success_at"}
    wanted |= {"is_enabled", "disabled_reason", "integration_id"}
    return {
        **callback.model_dump(mode="json", include=wanted),
        "organization": names.get(callback.organization_id),
    }

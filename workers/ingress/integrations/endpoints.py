"""/v1/integrations: an organization's connected numbers, read and changed. Connecting them is `connecting.py`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, model_validator

from shared.database.models import SessionChange
from shared.events import StrictModel
from workers.ingress import idempotency
from workers.ingress.callers import Organization
from workers.ingress.deps import Doorway, Here
from workers.ingress.errors import RESPONSES
from workers.ingress.idempotency import IdempotencyKey
from workers.ingress.integrations import connecting, qr, reconnecting, streaming
from workers.ingress.integrations import schemas as numbers
from workers.ingress.integrations.schemas import IntegrationState

router = APIRouter(tags=["integrations"], responses=RESPONSES)
reading = APIRouter(prefix=numbers.PATH)


class Change(StrictModel):
    """What to change of a number: a field that is not given stays."""

    name: numbers.Name | None = None
    is_enabled: bool | None = Field(
        default=None, description="A number that is switched off sends nothing."
    )

    @model_validator(mode="after")
    def _says_something(self) -> "Change":
        if self.name is None and self.is_enabled is None:
            msg = "give a name or is_enabled"
            raise ValueError(msg)
        return self


@reading.get("")
async def every(organization_id: Organization, here: Here) -> list[IntegrationState]:
    """List the organization's numbers, the primary one first, those that are still to be made at the end."""
    return await numbers.every(organization_id, here)


@reading.get("/{integration_id}")
async def one(integration_id: UUID, organization_id: Organization, here: Here) -> IntegrationState:
    """Tell how one number is: its status, its QR code while one is to be scanned, what is wrong and what to do."""
    return await numbers.one(integration_id, organization_id, here)


@reading.get("/{integration_id}/history")
async def history(
    integration_id: UUID,
    organization_id: Organization,
    here: Here,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[SessionChange]:
    """List how the number's state has changed, and why, the latest first. Also of one that was removed."""
    found = await run_in_threadpool(
        here.database.integrations.session_history, integration_id, organization_id, limit
    )
    if not found:
        await numbers.one(integration_id, organization_id, here)
    return found


@reading.patch("/{integration_id}")
async def change(
    integration_id: UUID, wanted: Change, organization_id: Organization, here: Here
) -> IntegrationState:
    """Rename a number, or switch it on or off."""
    values = wanted.model_dump(exclude_none=True)
    if not await run_in_threadpool(
        here.database.integrations.update, integration_id, organization_id, **values
    ):
        raise numbers.no_such(integration_id)
    return await _changed(integration_id, organization_id, here)


@reading.post("/{integration_id}/primary")
async def make_primary(
    integration_id: UUID,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
) -> IntegrationState:
    """Make it the number that messages leave from when none is named. A key done with undoes no later choice."""
    asked = {"route": "primary", "integration_id": str(integration_id)}
    bound = await idempotency.bind(organization_id, idempotency_key, asked, {}, here)
    if bound.again:
        idempotency.say_again(response)
    if "done" in bound.values:
        return await numbers.one(integration_id, organization_id, here)
    if not await run_in_threadpool(
        here.database.integrations.set_primary, integration_id, organization_id
    ):
        raise numbers.no_such(integration_id)
    await idempotency.rebind(organization_id, idempotency_key, asked, {"done": "yes"}, here)
    return await _changed(integration_id, organization_id, here)


async def _changed(integration_id: UUID, organization_id: UUID, here: Doorway) -> IntegrationState:
    await run_in_threadpool(here.route_cache.refresh, integration_id, organization_id)
    await here.changes.announce(organization_id, integration_id)
    return await numbers.one(integration_id, organization_id, here)


for part in (streaming.router, reading, connecting.router, reconnecting.router, qr.router):
    router.include_router(part)

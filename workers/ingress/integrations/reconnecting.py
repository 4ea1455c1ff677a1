"""What is done to a number that is there: looked at again, started again, disconnected."""

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Response

from shared.events import ProvisionEvent
from workers.ingress.callers import Organization
from workers.ingress.deps import Doorway, Here
from workers.ingress.idempotency import IdempotencyKey
from workers.ingress.integrations import granting
from workers.ingress.integrations import pending as marks
from workers.ingress.integrations import schemas as numbers
from workers.ingress.integrations import service as wishes
from workers.ingress.integrations.schemas import IntegrationState
from workers.ingress.integrations.service import Action, Wish
from workers.ingress.integrations.waiting import Prefer

router = APIRouter(prefix=numbers.PATH)

WATCHED = {"starting", "qr_issued", "connected", "degraded"}
"""States in which a number runs, so that looking at it is enough."""


@router.post("/{integration_id}/reconnect", status_code=202)
async def reconnect(
    integration_id: UUID,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> IntegrationState:
    """Start a number again: it comes back by itself while its phone is still linked, with a code otherwise."""
    found = await numbers.one(integration_id, organization_id, here)
    return await _again(
        "reconnect", found, organization_id, response, here, key=idempotency_key, prefer=prefer
    )


@router.post("/{integration_id}/refresh", status_code=202)
async def refresh(
    integration_id: UUID,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> IntegrationState:
    """Ask the platform how a number is now, and for a new code; one that does not run is started."""
    found = await numbers.one(integration_id, organization_id, here)
    return await _again(
        "refresh", found, organization_id, response, here, key=idempotency_key, prefer=prefer
    )


@router.delete("/{integration_id}", status_code=202)
async def disconnect(
    integration_id: UUID, organization_id: Organization, here: Here
) -> IntegrationState:
    """Stop a number and forget its key; its messages stay. Also ends one that is only half made."""
    found = await numbers.one(integration_id, organization_id, here)
    event = ProvisionEvent(
        id=await wishes.once(f"gone:{integration_id}", here),
        organization_id=organization_id,
        integration_id=integration_id,
        action="disconnect",
    )
    await wishes.grant(event, here)
    await marks.dismiss(integration_id, organization_id, here)
    await wishes.forget_click(f"first:{organization_id}", here)
    await here.changes.announce(organization_id, integration_id)
    return found.model_copy(update={"closing": True})


async def _again(  # noqa: PLR0913 - one route's arguments, and what it does
    route: Literal["reconnect", "refresh"],
    found: IntegrationState,
    organization_id: UUID,
    response: Response,
    here: Doorway,
    *,
    key: str | None,
    prefer: str | None,
) -> IntegrationState:
    """Do something to a number that is there; one that could not be made is tried once more."""
    integration_id = found.integration_id
    asked = {"route": route, "integration_id": str(integration_id)}
    wish = await wishes.remembered(organization_id, key, asked, here)
    if wish is None:
        wish = await _wish_for(route, found, here)
        wish = await wishes.remember(organization_id, key, asked, wish, here)
    event = ProvisionEvent(
        id=wish.event_id or integration_id,
        organization_id=organization_id,
        integration_id=integration_id,
        action=wish.action,
        add_new=wish.event_id == integration_id,
    )
    return await granting.accepted(event, wish, response, prefer, here)


async def _wish_for(
    route: Literal["reconnect", "refresh"], found: IntegrationState, here: Doorway
) -> Wish:
    """Return what to do to a number as it is now; one that could not be made is made."""
    if found.account_number is None:
        return Wish(found.integration_id, found.integration_id)
    action: Action = "watch" if route == "refresh" and found.status in WATCHED else "connect"
    subject = f"{action}:{found.integration_id}"
    return Wish(found.integration_id, await wishes.once(subject, here), subject, action)

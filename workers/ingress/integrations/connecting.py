"""POST /v1/integrations: from a click to the number that is meant, and the event that connects it."""

from uuid import UUID, uuid4

from fastapi import APIRouter, Response
from pydantic import Field

from shared.events import ProvisionEvent, StrictModel
from workers.ingress.callers import Organization
from workers.ingress.deps import Doorway, Here
from workers.ingress.idempotency import IdempotencyKey
from workers.ingress.integrations import granting
from workers.ingress.integrations import schemas as numbers
from workers.ingress.integrations import service as wishes
from workers.ingress.integrations.schemas import IntegrationState
from workers.ingress.integrations.service import Wish
from workers.ingress.integrations.waiting import Prefer

router = APIRouter(prefix=numbers.PATH)


class Connect(StrictModel):
    """What to connect: the organization's number, or one more (`add_new`), or a given one with a new key."""

    add_new: bool = Field(default=False, description="One more number, whatever there is.")
    force_recreate: bool = Field(
        default=False, description="A new key for the same number, where the old is refused."
    )
    integration_id: UUID | None = Field(
        default=None, description="Which number, where there are several."
    )
    name: numbers.Name | None = None


@router.post(
    "",
    status_code=202,
    responses={200: {"model": IntegrationState, "description": "There already."}},
)
async def connect(
    wanted: Connect,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> IntegrationState:
    """Connect a number: created where there is none, started where there is one. The QR follows at `Location`."""
    asked = wanted.model_dump(mode="json")
    wish = await wishes.remembered(organization_id, idempotency_key, asked, here)
    if wish is None:
        chosen = _chosen(wanted, await numbers.every(organization_id, here))
        wish = await _wish(wanted, chosen, organization_id, here)
        wish = await wishes.remember(organization_id, idempotency_key, asked, wish, here)
    if wish.event_id is None:
        return await granting.there(wish, organization_id, response, here)
    event = ProvisionEvent(
        id=wish.event_id,
        organization_id=organization_id,
        integration_id=wish.integration_id,
        add_new=wanted.add_new or wish.event_id == wanted.integration_id,
        force_recreate=wanted.force_recreate,
        name=wanted.name,
    )
    return await granting.accepted(event, wish, response, prefer, here)


def _chosen(wanted: Connect, existing: list[IntegrationState]) -> IntegrationState | None:
    """Return the number that is meant, or None when a new one is."""
    usable = [each for each in existing if not each.closing]
    if wanted.integration_id:
        found = next(
            (each for each in usable if each.integration_id == wanted.integration_id), None
        )
        if found is None:
            raise numbers.no_such(wanted.integration_id)
        return found
    return None if wanted.add_new or not usable else usable[0]


async def _wish(
    wanted: Connect, chosen: IntegrationState | None, organization_id: UUID, here: Doorway
) -> Wish:
    """Return which number is meant and by which event: the same ones for clicks that mean the same.

    A number's first event has the number's own id, so that it can be asked for before its row is there.
    """
    if chosen is None:
        fresh = uuid4() if wanted.add_new else await wishes.once(f"first:{organization_id}", here)
        return Wish(fresh, fresh)
    integration_id = chosen.integration_id
    if not wanted.force_recreate and (
        chosen.status == "connected" or numbers.has_fresh_code(chosen)
    ):
        return Wish(integration_id, None)
    if chosen.account_number is None:
        return Wish(integration_id, integration_id)
    subject = f"{'recreate' if wanted.force_recreate else 'connect'}:{integration_id}"
    return Wish(integration_id, await wishes.once(subject, here), subject)

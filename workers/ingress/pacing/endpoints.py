"""/v1/pacing: how fast an organization's numbers may write, and to how many new people a day."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from shared.pacing import PacingChange
from workers.ingress.callers import ForbiddenError
from workers.ingress.deps import CallerDep, IntegrationId, OrganizationId, StateDep
from workers.ingress.errors import RESPONSES
from workers.ingress.pacing import service
from workers.ingress.pacing.schemas import NumberPacingState, PacingState

router = APIRouter(prefix="/v1/pacing", tags=["pacing"], responses=RESPONSES)


async def get_service_organization(caller: CallerDep) -> UUID:
    """Return the organization of a service; raises ForbiddenError for a signed-in user."""
    if caller.is_user:
        msg = "users cannot change the pacing: it protects the number from a ban. Use a service key"
        raise ForbiddenError(msg)
    return caller.organization_id


ServiceOrganizationId = Annotated[UUID, Depends(get_service_organization)]


@router.get(
    "",
    summary="Get the pacing",
    operation_id="get_pacing",
    response_description="The pacing of the organization and its numbers.",
)
async def get_pacing(organization_id: OrganizationId, state: StateDep) -> PacingState:
    """Return how the organization's numbers are paced, and how many of their messages wait."""
    return await service.read_pacing(organization_id, state)


@router.patch(
    "",
    summary="Change the pacing of all numbers",
    operation_id="change_pacing",
    response_description="The new pacing.",
)
async def change_pacing(
    body: PacingChange, organization_id: ServiceOrganizationId, state: StateDep
) -> PacingState:
    """Change what counts for the organization's numbers; `null` takes a setting back.

    Messages that wait get a new turn by the new settings within 15 seconds.
    """
    await service.change(organization_id, None, body, state)
    return await service.read_pacing(organization_id, state)


@router.get(
    "/{integration_id}",
    summary="Get the pacing of a number",
    operation_id="get_number_pacing",
    response_description="The pacing of the number.",
)
async def get_number_pacing(
    integration_id: IntegrationId, organization_id: OrganizationId, state: StateDep
) -> NumberPacingState:
    """Return how a number is paced, how many of its messages wait, and its warm-up."""
    return await service.read_number(integration_id, organization_id, state)


@router.patch(
    "/{integration_id}",
    summary="Change the pacing of a number",
    operation_id="change_number_pacing",
    response_description="The new pacing of the number.",
)
async def change_number_pacing(
    integration_id: IntegrationId,
    body: PacingChange,
    organization_id: ServiceOrganizationId,
    state: StateDep,
) -> NumberPacingState:
    """Change what counts for a number; `null` takes a setting back to its organization's."""
    await service.change(organization_id, integration_id, body, state)
    return await service.read_number(integration_id, organization_id, state)

"""/v1/integrations: read, connect and change the WhatsApp numbers of an organization."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime

from shared.errors import IntegrationNotFoundError
from shared.events import ProvisionEvent
from workers.ingress.deps import (
    IdempotencyKey,
    IntegrationId,
    OrganizationId,
    ProvisionContext,
    ProvisionContextDep,
    StateDep,
)
from workers.ingress.errors import RESPONSES
from workers.ingress.idempotency import set_replayed_header
from workers.ingress.integrations import qr, queries, service, streaming
from workers.ingress.integrations.connect_requests import (
    ConnectRequest,
    resolve_connect,
    resolve_reconnect,
)
from workers.ingress.integrations.schemas import (
    PATH,
    ConnectIntegration,
    IntegrationState,
    SessionState,
    UpdateIntegration,
)

router = APIRouter(prefix=PATH, tags=["integrations"], responses=RESPONSES)
router.include_router(streaming.router)  # before /{integration_id}, which matches its path too


@router.get(
    "",
    summary="List the integrations",
    operation_id="list_integrations",
    response_description="The integrations.",
)
async def list_integrations(
    organization_id: OrganizationId, state: StateDep
) -> list[IntegrationState]:
    """List the organization's integrations, the primary integration first.

    Integrations that are still being created come last.
    """
    return await queries.list_integrations(organization_id, state)


@router.post(
    "",
    status_code=202,
    summary="Connect an integration",
    operation_id="connect_integration",
    response_description="The request was accepted: the state of the integration.",
    responses={200: {"model": IntegrationState, "description": "Already connected."}},
)
async def connect_integration(
    body: ConnectIntegration, context: ProvisionContextDep
) -> IntegrationState:
    """Create an integration, or connect an existing integration.

    `Location` is the path of its state, which has the QR code a few seconds later. Send
    `Prefer: wait=20` to get the QR code in this response. Requests that are repeated within
    30 seconds take effect once.
    """
    request = await resolve_connect(body, context)
    if request.event_id is None:
        return await service.already_connected(request, context)
    event = ProvisionEvent(
        id=request.event_id,
        organization_id=context.organization_id,
        integration_id=request.integration_id,
        add_new=body.add_new or request.event_id == body.integration_id,
        force_recreate=body.force_recreate,
        name=body.name,
    )
    return await service.enqueue_connect(event, request, context)


@router.get(
    "/{integration_id}",
    summary="Get the state of an integration",
    operation_id="get_integration",
    response_description="The state of the integration.",
)
async def get_integration(
    integration_id: IntegrationId, organization_id: OrganizationId, state: StateDep
) -> IntegrationState:
    """Return the state of an integration: its status, its QR code, errors and the next step."""
    return await queries.get_integration(integration_id, organization_id, state)


@router.get(
    "/{integration_id}/history",
    summary="List the statuses of an integration",
    operation_id="list_integration_history",
    response_description="The statuses of the integration.",
)
async def list_integration_history(
    integration_id: IntegrationId,
    organization_id: OrganizationId,
    state: StateDep,
    limit: Annotated[
        int, Query(ge=1, le=500, description="Maximum number of statuses to return.")
    ] = 100,
    until: Annotated[
        AwareDatetime | None,
        Query(description="Only statuses before this time. Default: from the newest on."),
    ] = None,
) -> list[SessionState]:
    """List the statuses of an integration with their reasons, newest first.

    The history remains readable after the integration is disconnected.
    """
    return await queries.list_history(integration_id, organization_id, limit, state, until)


@router.patch(
    "/{integration_id}",
    summary="Update an integration",
    operation_id="update_integration",
    response_description="The new state of the integration.",
)
async def update_integration(
    integration_id: IntegrationId,
    body: UpdateIntegration,
    organization_id: OrganizationId,
    state: StateDep,
) -> IntegrationState:
    """Rename an integration, or enable or disable it."""
    values = body.model_dump(exclude_none=True)
    changed = await run_in_threadpool(
        state.database.integrations.update, integration_id, organization_id, **values
    )
    if not changed:
        raise IntegrationNotFoundError(integration_id)
    return await service.propagate_change(integration_id, organization_id, state)


@router.post(
    "/{integration_id}/primary",
    summary="Make an integration the primary integration",
    operation_id="set_primary_integration",
    response_description="The new state of the integration.",
)
async def set_primary_integration(
    integration_id: IntegrationId,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> IntegrationState:
    """Make this the integration that sends messages which name no integration.

    Repeating a request with the same Idempotency-Key does not undo a later choice.
    """
    request = {"route": "primary", "integration_id": str(integration_id)}
    stored = await state.idempotency.claim(organization_id, idempotency_key, request, {})
    if stored.replayed:
        set_replayed_header(response)
    if "done" in stored.values:
        return await queries.get_integration(integration_id, organization_id, state)
    if not await run_in_threadpool(
        state.database.integrations.set_primary, integration_id, organization_id
    ):
        raise IntegrationNotFoundError(integration_id)
    await state.idempotency.update(organization_id, idempotency_key, request, {"done": "yes"})
    return await service.propagate_change(integration_id, organization_id, state)


@router.post(
    "/{integration_id}/reconnect",
    status_code=202,
    summary="Reconnect an integration",
    operation_id="reconnect_integration",
    response_description="The request was accepted: the state of the integration.",
)
async def reconnect_integration(
    integration_id: IntegrationId, context: ProvisionContextDep
) -> IntegrationState:
    """Start an integration again.

    It connects by itself if the phone is still linked; otherwise a new QR code follows.
    """
    request = await resolve_reconnect("reconnect", integration_id, context)
    return await _enqueue(request, context)


@router.post(
    "/{integration_id}/refresh",
    status_code=202,
    summary="Refresh the state of an integration",
    operation_id="refresh_integration",
    response_description="The request was accepted: the state of the integration.",
)
async def refresh_integration(
    integration_id: IntegrationId, context: ProvisionContextDep
) -> IntegrationState:
    """Read the state and a new QR code from the platform.

    An integration that does not run is connected.
    """
    request = await resolve_reconnect("refresh", integration_id, context)
    return await _enqueue(request, context)


async def _enqueue(request: ConnectRequest, context: ProvisionContext) -> IntegrationState:
    event = ProvisionEvent(
        id=request.event_id or request.integration_id,
        organization_id=context.organization_id,
        integration_id=request.integration_id,
        action=request.action,
        add_new=request.event_id == request.integration_id,
    )
    return await service.enqueue_connect(event, request, context)


@router.delete(
    "/{integration_id}",
    status_code=202,
    summary="Disconnect an integration",
    operation_id="disconnect_integration",
    response_description="The request was accepted: the state of the integration.",
)
async def disconnect_integration(
    integration_id: IntegrationId, organization_id: OrganizationId, state: StateDep
) -> IntegrationState:
    """Log the integration out of WhatsApp and delete its API key. Its messages are kept.

    An integration that is still being created is cancelled.
    """
    return await service.disconnect(integration_id, organization_id, state)


router.include_router(qr.router)

"""Read integrations: rows of Supabase, combined with what Redis knows before Supabase does."""

from datetime import datetime
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database import Integration
from shared.database.models import SessionChange
from shared.errors import IntegrationNotFoundError, NotFoundError
from workers.ingress.deps import AppState
from workers.ingress.integrations import pending
from workers.ingress.integrations.schemas import IntegrationState, SessionState, status_hint

SETTLED = ("connected", "qr_issued", "starting")
"""Statuses that a connect in progress does not make obsolete."""


async def list_integrations(organization_id: UUID, state: AppState) -> list[IntegrationState]:
    """Return an organization's integrations: first the primary, last the pending integrations."""
    # Pending integrations are read first: a row that is created in between is then found.
    ids = await pending.list_pending(organization_id, state)
    unsaved = [await pending_integration(each, organization_id, state) for each in ids]
    rows = await run_in_threadpool(state.database.integrations.list_for, organization_id)
    saved = {row.id for row in rows}
    return [
        *await _combine(rows, state),
        *(each for each in unsaved if each and each.integration_id not in saved),
    ]


async def get_integration(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationState:
    """Return an integration.

    Raises:
        IntegrationNotFoundError: this organization does not have the integration.
    """
    unsaved = await pending_integration(integration_id, organization_id, state)
    row = await run_in_threadpool(state.database.integrations.get, integration_id)
    if row and row.organization_id == organization_id:
        return (await _combine([row], state))[0]
    if row is None and unsaved:
        return unsaved
    raise IntegrationNotFoundError(integration_id)


async def get_accepted(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationState:
    """Return an integration after its connect was accepted, even before it has a record."""
    try:
        return await get_integration(integration_id, organization_id, state)
    except NotFoundError:
        return IntegrationState(
            status="starting", integration_id=integration_id, **status_hint("starting")
        )


async def pending_integration(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationState | None:
    """Return an integration that has no row yet or could not be created, or None."""
    record = await pending.find_record(integration_id, state)
    if record is None or record.queue != "provision" or record.tenant != str(organization_id):
        return None
    if record.state == "done" or await pending.find_removed([integration_id], state):
        return None
    return IntegrationState.from_record(integration_id, record)


async def list_history(
    integration_id: UUID,
    organization_id: UUID,
    limit: int,
    state: AppState,
    until: datetime | None = None,
) -> list[SessionState]:
    """Return the statuses of an integration, newest first, also after its removal."""
    history = await run_in_threadpool(
        state.database.integrations.number_history, integration_id, organization_id, limit, until
    )
    if not history:
        await get_integration(integration_id, organization_id, state)
    return [SessionState.from_change(each) for each in history]


async def find_removed_number(
    named: str, organization_id: UUID, state: AppState
) -> SessionChange | None:
    """Return the last status of a number that the organization has disconnected, or None.

    `named` is its id or its account.
    """
    return await run_in_threadpool(
        state.database.integrations.find_last_change, named, organization_id
    )


async def _combine(rows: list[Integration], state: AppState) -> list[IntegrationState]:
    """Return the states of rows, with what is in progress for them."""
    ids = [row.id for row in rows]
    removed = await pending.find_removed(ids, state)
    outages = await pending.find_outages(ids, state)
    states = []
    for row in rows:
        closing = row.id in removed
        found = IntegrationState.from_row(row).model_copy(update={"closing": closing})
        if not closing and (row.status not in SETTLED or found.error):
            connect = await pending.active_connect(row.id, row.status_at, state)
            found = found.as_starting(connect.reason) if connect else found
        if row.id in outages and found.status == "connected" and not found.error:
            away = {"cause": "platform_away", "cause_at": outages[row.id]}
            found = found.model_copy(update=away)
        states.append(found)
    return states

"""Pacing: what is set for an organization and its numbers, and what waits."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database import Integration
from shared.database.models import NumberPacing
from shared.errors import IntegrationNotFoundError
from shared.events import utc_now
from shared.pacing import PacingChange
from shared.settings import EngineSettings
from workers.ingress.deps import AppState
from workers.ingress.pacing.schemas import NumberPacingState, PacingState, WarmUpState
from workers.send.paced_numbers import PacedNumber, budgets_left, find_waiting, find_warm_up_day
from workers.send.pacing_settings import change_pacing


async def read_pacing(organization_id: UUID, state: AppState) -> PacingState:
    """Return the pacing of an organization; raises DatabaseError."""
    return await run_in_threadpool(_read, organization_id, state)


async def read_number(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> NumberPacingState:
    """Return the pacing of a number.

    Raises:
        IntegrationNotFoundError: this organization does not have the number.
        DatabaseError: Supabase did not answer.
    """
    found = await read_pacing(organization_id, state)
    for number in found.numbers:
        if number.integration_id == integration_id:
            return number
    raise IntegrationNotFoundError(integration_id)


async def change(
    organization_id: UUID, integration_id: UUID | None, wanted: PacingChange, state: AppState
) -> None:
    """Change what is set for an organization, or for a number of it.

    Raises:
        NotFoundError: this organization does not have the number.
        DatabaseError: Supabase did not answer.
    """
    await run_in_threadpool(
        change_pacing,
        organization_id,
        integration_id,
        wanted,
        state.database,
        state.route_cache,
        state.sync_redis,
    )


def _read(organization_id: UUID, state: AppState) -> PacingState:
    own = PacingChange.read(state.database.pacing.of_organization(organization_id))
    rows = state.database.integrations.list_for(organization_id)
    return PacingState(
        settings=state.engine.pacing.with_change(own),
        own=own,
        numbers=_describe_numbers(rows, organization_id, state),
    )


def _describe_numbers(
    rows: Sequence[Integration], organization_id: UUID, state: AppState
) -> list[NumberPacingState]:
    stored = state.database.pacing.of_numbers(organization_id)
    waiting = find_waiting(state.sync_redis, [row.id for row in rows])
    left = budgets_left(state.sync_redis)
    return [
        _describe(
            stored.get(paced.integration_id) or NumberPacing(integration_id=paced.integration_id),
            paced,
            left.get(paced.integration_id),
            state.engine,
        )
        for paced in waiting
    ]


def _describe(
    stored: NumberPacing, paced: PacedNumber, left: int | None, engine: EngineSettings
) -> NumberPacingState:
    now = utc_now()
    settings = engine.pacing.with_change(PacingChange.read(stored.settings))
    today = find_warm_up_day(settings, stored.warm_up_from, now, engine.wpp_warm_up_day_start)
    warm_up = today and WarmUpState(
        day=today.day,
        budget=today.budget,
        left=today.budget if left is None else max(0, left),
        waiting=paced.for_tomorrow,
    )
    return NumberPacingState(
        integration_id=paced.integration_id,
        settings=settings,
        own=PacingChange.read(stored.own),
        waiting=paced.waiting,
        last_turn_at=now + timedelta(seconds=paced.last_turn_s) if paced.waiting else None,
        warm_up=warm_up,
    )

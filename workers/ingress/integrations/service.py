"""Connect and disconnect integrations: append the event to its lane, answer with the state."""

from dataclasses import replace
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared import routing
from shared.database import Database
from shared.events import ProvisionEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import Append
from shared.redis import keys
from workers.ingress.deps import AppState, ProvisionContext
from workers.ingress.idempotency import set_replayed_header
from workers.ingress.integrations import pending, queries
from workers.ingress.integrations.connect_requests import ConnectRequest
from workers.ingress.integrations.open_streams import TooManyStreamsError
from workers.ingress.integrations.schemas import PATH, IntegrationState
from workers.ingress.integrations.streaming import wait_for_result


async def enqueue_connect(
    event: ProvisionEvent, request: ConnectRequest, context: ProvisionContext
) -> IntegrationState:
    """Append the event of a request to its lane once; return the state of its integration.

    A click after the event of earlier clicks has ended gets a new event; a repeated idempotency key
    does not.
    """
    state, integration_id = context.state, event.integration_id
    before = None
    if context.wait_s:
        before = await queries.get_accepted(integration_id, event.organization_id, state)
    finished = request.replayed and await state.redis.exists(keys.event(event.id))
    while not finished:
        await pending.mark_connecting(event, state)
        finished = await _append(event, state)
        if request.click is None:
            break
        if not finished:
            following = await pending.next_click_id(request.click, event.id, state)
            event = event.model_copy(update={"id": following})
    _set_headers(request, context)
    if before is None:
        return await queries.get_accepted(integration_id, event.organization_id, state)
    return await _hold(before, context)


async def _hold(before: IntegrationState, context: ProvisionContext) -> IntegrationState:
    """Return the result of a connect once it is there; with too many open streams, the state."""
    state, organization_id = context.state, context.organization_id
    try:
        with state.open_streams.open(organization_id):
            context.response.headers["Preference-Applied"] = f"wait={context.wait_s}"
            return await wait_for_result(before, organization_id, context.wait_s, state)
    except TooManyStreamsError:
        return await wait_for_result(before, organization_id, 0, state)


async def already_connected(request: ConnectRequest, context: ProvisionContext) -> IntegrationState:
    """Return the state of an integration that needs no event, with status 200."""
    context.response.status_code = 200
    _set_headers(request, context)
    return await queries.get_integration(
        request.integration_id, context.organization_id, context.state
    )


def _set_headers(request: ConnectRequest, context: ProvisionContext) -> None:
    context.response.headers["Location"] = f"{PATH}/{request.integration_id}"
    if request.replayed:
        set_replayed_header(context.response)


async def disconnect(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationState:
    """Enqueue the disconnect of an integration; return its state, which is `closing` from now on.

    Raises:
        IntegrationNotFoundError: the organization does not have the integration.
    """
    found = await queries.get_integration(integration_id, organization_id, state)
    event = ProvisionEvent(
        id=await pending.click_id(f"disconnect:{integration_id}", state),
        organization_id=organization_id,
        integration_id=integration_id,
        action="disconnect",
    )
    await _append(event, state)
    await pending.mark_removed(integration_id, organization_id, state)
    await pending.clear_click(f"first:{organization_id}", state)
    await state.notifications.publish(organization_id, integration_id)
    return found.model_copy(update={"closing": True})


async def _append(event: ProvisionEvent, state: AppState) -> bool:
    """Append an event to its lane; return False if it is done already.

    An event that has failed goes back into its lane.
    """
    fingerprint = f"{event.organization_id}:{event.action}"
    item = replace(routing.route_provision(event), fingerprint=fingerprint)
    accepted = await state.producer.append(item)
    if accepted.state == "failed":
        await run_in_threadpool(retry_failed, item, state.lanes, state.database)
    return accepted.new or accepted.state != "done"


def retry_failed(item: Append, lanes: Lanes, database: Database) -> None:
    """Put a failed event back into its lane, and mark its dead letter as replayed."""
    before = utc_now()
    lanes.replay(item)
    database.dead_letters.mark_replayed([item.id], before)


async def propagate_change(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> IntegrationState:
    """Propagate a change of an integration to route cache and streams; return its state."""
    await run_in_threadpool(state.route_cache.refresh, integration_id, organization_id)
    await state.notifications.publish(organization_id, integration_id)
    return await queries.get_integration(integration_id, organization_id, state)

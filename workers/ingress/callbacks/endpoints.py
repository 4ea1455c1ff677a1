"""/v1/callbacks: addresses to which the events of an organization are posted."""

from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from fastapi.concurrency import run_in_threadpool

from workers.ingress.callbacks import service
from workers.ingress.callbacks.schemas import (
    CallbackState,
    ChangedCallback,
    DeliveryPage,
    NewCallback,
    PostedEvent,
    Replay,
)
from workers.ingress.deps import IdempotencyKey, OrganizationId, StateDep
from workers.ingress.errors import CONFLICT, RESPONSES
from workers.ingress.idempotency import set_replayed_header

router = APIRouter(prefix="/v1/callbacks", tags=["callbacks"], responses=RESPONSES)

AnswerT = TypeVar("AnswerT")

CallbackId = Annotated[UUID, Path(description="Id of the callback.")]
DeliveryId = Annotated[int, Path(description="Id of the delivery.", ge=1, le=2**62)]


@router.get(
    "",
    summary="List the callbacks",
    operation_id="list_callbacks",
    response_description="The callbacks.",
)
async def list_callbacks(organization_id: OrganizationId, state: StateDep) -> list[CallbackState]:
    """List the organization's callbacks, the oldest first, without their secrets."""
    rows = await run_in_threadpool(state.database.callbacks.list_for, organization_id)
    return [CallbackState.from_row(row) for row in rows]


@router.post(
    "",
    status_code=201,
    summary="Create a callback",
    operation_id="create_callback",
    response_description="The callback, with its signing secret.",
    responses=CONFLICT,
)
async def create_callback(
    given: NewCallback,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> CallbackState:
    """Have the events from now on posted to an address.

    Posts are signed as Standard Webhooks say; the answer has the secret, which is not shown again.
    Too many callbacks of an organization are refused with 409.
    """
    found, replayed = await service.create(given, organization_id, idempotency_key, state)
    response.headers["Location"] = f"/v1/callbacks/{found.id}"
    return _answer(found, response, replayed=replayed)


@router.get(
    "/{callback_id}",
    summary="Get a callback",
    operation_id="get_callback",
    response_description="The callback.",
)
async def get_callback(
    callback_id: CallbackId, organization_id: OrganizationId, state: StateDep
) -> CallbackState:
    """Return a callback without its secret."""
    return CallbackState.from_row(await service.find(callback_id, organization_id, state))


@router.patch(
    "/{callback_id}",
    summary="Change a callback",
    operation_id="update_callback",
    response_description="The callback.",
)
async def update_callback(
    callback_id: CallbackId,
    given: ChangedCallback,
    organization_id: OrganizationId,
    state: StateDep,
) -> CallbackState:
    """Change its address, name or types, or enable and disable it.

    What waits for it is tried at once.
    """
    return await service.change(callback_id, given, organization_id, state)


@router.delete(
    "/{callback_id}",
    status_code=204,
    summary="Delete a callback",
    operation_id="delete_callback",
    response_description="The callback and its log are deleted.",
)
async def delete_callback(
    callback_id: CallbackId, organization_id: OrganizationId, state: StateDep
) -> None:
    """Delete a callback. What waits for it is not posted."""
    await service.delete(callback_id, organization_id, state)


@router.post(
    "/{callback_id}/secret",
    summary="Replace the secret of a callback",
    operation_id="rotate_callback_secret",
    response_description="The callback, with its new signing secret.",
)
async def rotate_callback_secret(
    callback_id: CallbackId,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> CallbackState:
    """Make a new secret. For a day, each post is signed with the secret before as well."""
    found, replayed = await service.rotate(callback_id, organization_id, idempotency_key, state)
    return _answer(found, response, replayed=replayed)


@router.post(
    "/{callback_id}/test",
    status_code=202,
    summary="Test a callback",
    operation_id="send_callback_test",
    response_description="The test will be posted.",
)
async def send_callback_test(
    callback_id: CallbackId,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> PostedEvent:
    """Post an event of type `callback.test` once; its result is in the log of deliveries."""
    found, replayed = await service.send_test(callback_id, organization_id, idempotency_key, state)
    return _answer(found, response, replayed=replayed)


@router.get(
    "/{callback_id}/deliveries",
    summary="List the deliveries of a callback",
    operation_id="list_callback_deliveries",
    response_description="A page of deliveries.",
)
async def list_callback_deliveries(
    callback_id: CallbackId,
    organization_id: OrganizationId,
    state: StateDep,
    before: Annotated[
        int | None, Query(ge=1, le=2**62, description="Only attempts before this one: `next`.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Attempts of a page.")] = 50,
) -> DeliveryPage:
    """List the attempts to post events, the newest first. They are kept for two weeks."""
    return await service.list_deliveries(callback_id, organization_id, before, limit, state)


@router.post(
    "/{callback_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Post the event of a delivery again",
    operation_id="replay_callback_delivery",
    response_description="The event will be posted.",
)
async def replay_callback_delivery(
    callback_id: CallbackId,
    delivery_id: DeliveryId,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> PostedEvent:
    """Post the event once more, under the same `webhook-id`."""
    found, replayed = await service.replay_delivery(
        callback_id, delivery_id, organization_id, idempotency_key, state
    )
    return _answer(found, response, replayed=replayed)


@router.post(
    "/{callback_id}/replay",
    status_code=202,
    summary="Post the events since a time again",
    operation_id="replay_callback",
    response_description="The events will be posted; the callback.",
)
async def replay_callback(
    callback_id: CallbackId,
    given: Replay,
    organization_id: OrganizationId,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
) -> CallbackState:
    """Post every event since a time once more, in order, each under the same `webhook-id`."""
    found, replayed = await service.replay(
        callback_id, given.since, organization_id, idempotency_key, state
    )
    return _answer(found, response, replayed=replayed)


def _answer(found: AnswerT, response: Response, *, replayed: bool) -> AnswerT:
    if replayed:
        set_replayed_header(response)
    return found

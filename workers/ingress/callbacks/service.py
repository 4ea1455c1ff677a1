"""Callbacks of an organization: create, change, test, replay."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from fastapi.concurrency import run_in_threadpool

from shared.callbacks import ROTATION_HOURS, TEST_TYPE, Callback, make_secret
from shared.errors import IntegrationNotFoundError, NotFoundError
from shared.events import CallbackEvent, utc_now
from shared.feed import format_id
from shared.routing import callback_gate, route_callback, route_event
from workers.ingress.callbacks.refusals import TooManyCallbacksError, check_url
from workers.ingress.callbacks.schemas import (
    CallbackState,
    ChangedCallback,
    DeliveryPage,
    DeliveryState,
    NewCallback,
    PostedEvent,
)
from workers.ingress.deps import AppState
from workers.ingress.idempotency import hash_key

TEST_KEY = "test"
"""Tests have a lane of their own: no event waits for them."""


async def create(
    given: NewCallback, organization_id: UUID, key: str | None, state: AppState
) -> tuple[CallbackState, bool]:
    """Create a callback once for its Idempotency-Key; return it, and whether it was there.

    Raises:
        CallbackUrlError: nothing may be posted to this address.
        IntegrationNotFoundError: the organization does not have the integration.
        TooManyCallbacksError: the organization has as many as it may.
    """
    check_url(given.url, state.callback_settings.wpp_callback_private_hosts)
    if number := given.integration_id:
        found_number = await run_in_threadpool(state.database.integrations.get, number)
        if found_number is None or found_number.organization_id != organization_id:
            raise IntegrationNotFoundError(number)
    request = {"callback": given.model_dump(mode="json")}
    stored = await state.idempotency.claim(organization_id, key, request, {"id": str(uuid4())})
    row = {
        "id": stored.values["id"],
        "organization_id": str(organization_id),
        "name": given.name,
        "url": str(given.url),
        "types": list(given.types),
        "integration_id": str(given.integration_id) if given.integration_id else None,
        "secret": make_secret().get_secret_value(),
    }
    limit = state.callback_settings.wpp_callback_limit
    found = await run_in_threadpool(state.database.callbacks.create, row, limit)
    if found is None:
        msg = f"this organization has {limit} callbacks already: delete one (WPP_CALLBACK_LIMIT)"
        raise TooManyCallbacksError(msg)
    return CallbackState.from_row(found, with_secret=True), stored.replayed


async def find(callback_id: UUID, organization_id: UUID, state: AppState) -> Callback:
    """Return a callback.

    Raises:
        NotFoundError: the organization has none of this id.
    """
    found = await run_in_threadpool(state.database.callbacks.find, callback_id, organization_id)
    if found is None:
        raise _not_found(callback_id)
    return found


async def change(
    callback_id: UUID, given: ChangedCallback, organization_id: UUID, state: AppState
) -> CallbackState:
    """Change what is given; raises as `find` and `check_url`."""
    if given.url:
        check_url(given.url, state.callback_settings.wpp_callback_private_hosts)
    changes: dict[str, Any] = given.model_dump(mode="json", exclude_none=True)
    if given.is_enabled is not None:
        changes |= {"disabled_reason": None, "failing_since": None}
    if not changes:
        return CallbackState.from_row(await find(callback_id, organization_id, state))
    found = await run_in_threadpool(
        state.database.callbacks.update, callback_id, organization_id, changes
    )
    if found is None:
        raise _not_found(callback_id)
    await run_in_threadpool(state.lanes.open_gate, callback_gate(callback_id))
    return CallbackState.from_row(found)


async def rotate(
    callback_id: UUID, organization_id: UUID, key: str | None, state: AppState
) -> tuple[CallbackState, bool]:
    """Replace the secret once for its Idempotency-Key; return it, and whether that was before.

    The present secret signs as well for a day. Raises as `find`.
    """
    found = await find(callback_id, organization_id, state)
    present = hash_key(found.secret.get_secret_value())
    request = {"route": "callback_secret", "callback_id": str(callback_id)}
    stored = await state.idempotency.claim(organization_id, key, request, {"before": present})
    if stored.values["before"] != present:  # the request before this one has replaced it
        return CallbackState.from_row(found, with_secret=True), True
    until = utc_now() + timedelta(hours=ROTATION_HOURS)
    changed = await run_in_threadpool(state.database.callbacks.rotate, found, make_secret(), until)
    if changed is None:
        raise _not_found(callback_id)
    return CallbackState.from_row(changed, with_secret=True), False


async def delete(callback_id: UUID, organization_id: UUID, state: AppState) -> None:
    """Delete a callback with its log; raises NotFoundError."""
    callbacks = state.database.callbacks
    if not await run_in_threadpool(callbacks.delete, callback_id, organization_id):
        raise _not_found(callback_id)
    await run_in_threadpool(state.lanes.open_gate, callback_gate(callback_id))


async def send_test(
    callback_id: UUID, organization_id: UUID, key: str | None, state: AppState
) -> tuple[PostedEvent, bool]:
    """Post an event of type `callback.test`, also to a disabled callback; raises as `find`.

    It is posted once for its Idempotency-Key. Returns it, and whether it was accepted before.
    """
    found = await find(callback_id, organization_id, state)
    request = {"route": "callback_test", "callback_id": str(callback_id)}
    stored = await state.idempotency.claim(organization_id, key, request, {"id": str(uuid4())})
    event_id = UUID(stored.values["id"])
    webhook_id = f"test_{event_id.hex}"
    told = {
        "id": webhook_id,
        "type": TEST_TYPE,
        "timestamp": utc_now().isoformat(),
        "data": {"callback_id": str(found.id)},
    }
    event = CallbackEvent(
        id=event_id,
        organization_id=organization_id,
        callback_id=found.id,
        webhook_id=webhook_id,
        type=TEST_TYPE,
        key=TEST_KEY,
        body=json.dumps(told),
    )
    await run_in_threadpool(state.lanes.open_gate, callback_gate(found.id))
    await state.producer.append(route_event(event, webhook_id))
    return PostedEvent(webhook_id=webhook_id), stored.replayed


async def list_deliveries(
    callback_id: UUID, organization_id: UUID, before: int | None, limit: int, state: AppState
) -> DeliveryPage:
    """Return attempts, the newest first; raises as `find`."""
    await find(callback_id, organization_id, state)
    rows = await run_in_threadpool(
        state.database.callbacks.list_deliveries, callback_id, organization_id, before, limit
    )
    is_last = len(rows) < limit
    return DeliveryPage(
        items=[DeliveryState.from_row(row) for row in rows],
        next=None if is_last else str(rows[-1].id),
    )


async def replay_delivery(
    callback_id: UUID, delivery_id: int, organization_id: UUID, key: str | None, state: AppState
) -> tuple[PostedEvent, bool]:
    """Post the event of a delivery once more, once for its Idempotency-Key.

    Returns it, and whether it was accepted before.

    Raises:
        NotFoundError: there is no such delivery, or its event is not stored any more.
    """
    callback = await find(callback_id, organization_id, state)
    delivery = await run_in_threadpool(
        state.database.callbacks.find_delivery, delivery_id, callback_id, organization_id
    )
    if delivery is None:
        msg = f"this callback has no delivery {delivery_id}"
        raise NotFoundError(msg)
    number = delivery.event_id
    page = (
        await run_in_threadpool(state.database.feed.read, organization_id, number - 1, 1)
        if number is not None
        else None
    )
    if page is None or not page.events or page.events[0].id != number:
        msg = "its event is not stored any more (a test never is): send a test instead"
        raise NotFoundError(msg)
    request = {"route": "callback_delivery", "delivery_id": delivery_id}
    stored = await state.idempotency.claim(organization_id, key, request, {"again": uuid4().hex})
    await state.producer.append(
        route_callback(callback, page.events[0], again=stored.values["again"])
    )
    return PostedEvent(webhook_id=format_id(number)), stored.replayed


async def replay(
    callback_id: UUID, since: datetime, organization_id: UUID, key: str | None, state: AppState
) -> tuple[CallbackState, bool]:
    """Post every event since a time once more, once for its Idempotency-Key.

    Returns the callback, and whether that was asked before. Raises NotFoundError.
    """
    request = {
        "route": "callback_replay",
        "callback_id": str(callback_id),
        "since": since.isoformat(),
    }
    is_known = await state.idempotency.lookup(organization_id, key, request) is not None
    if not is_known:
        callbacks = state.database.callbacks
        if not await run_in_threadpool(callbacks.rewind, callback_id, organization_id, since):
            raise _not_found(callback_id)
        await state.idempotency.claim(organization_id, key, request, {})
    found = await find(callback_id, organization_id, state)
    return CallbackState.from_row(found), is_known


def _not_found(callback_id: UUID) -> NotFoundError:
    return NotFoundError(f"no callback {callback_id} in this organization")

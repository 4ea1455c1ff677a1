"""What a request to connect an integration means: which integration, and which event."""

from dataclasses import dataclass
from typing import Literal, Self
from uuid import UUID, uuid4

from shared.errors import IntegrationNotFoundError
from workers.ingress.deps import AppState, ProvisionContext
from workers.ingress.idempotency import StoredRequest
from workers.ingress.integrations import pending, queries
from workers.ingress.integrations.schemas import ConnectIntegration, IntegrationState

RUNNING = {"starting", "qr_issued", "connected", "degraded"}
"""Statuses in which a refresh polls the platform; otherwise it connects."""

ProvisionAction = Literal["connect", "watch"]


@dataclass(frozen=True)
class ConnectRequest:
    """Which integration to connect, and by which event; without an event it is connected already.

    The first event of an integration has the integration's own id, so that its status can be read
    before it has a row. `click` is the subject of the clicks that share this event. `replayed`: the
    idempotency key came with an earlier request.
    """

    integration_id: UUID
    event_id: UUID | None
    click: str | None = None
    action: ProvisionAction = "connect"
    replayed: bool = False

    @classmethod
    def from_stored(cls, stored: StoredRequest) -> Self:
        """Read what `values` wrote under an idempotency key."""
        values = stored.values
        return cls(
            UUID(values["integration"]),
            UUID(values["event"]) if "event" in values else None,
            action="watch" if values["action"] == "watch" else "connect",
            replayed=True,
        )

    @property
    def values(self) -> dict[str, str]:
        values = {"integration": str(self.integration_id), "action": self.action}
        return values | ({"event": str(self.event_id)} if self.event_id else {})


async def resolve_connect(body: ConnectIntegration, context: ProvisionContext) -> ConnectRequest:
    """Return what a request to connect means: the same event for requests that mean the same.

    Raises:
        IntegrationNotFoundError: the named integration does not exist or is being removed.
        IdempotencyConflictError: the key was used for a different request.
    """
    state, organization_id = context.state, context.organization_id
    key, description = context.idempotency_key, body.model_dump(mode="json")
    if stored := await state.idempotency.lookup(organization_id, key, description):
        return ConnectRequest.from_stored(stored)
    usable = [
        each
        for each in await queries.list_integrations(organization_id, state)
        if not each.closing and body.integration_id in {None, each.integration_id}
    ]
    if body.integration_id and not usable:
        raise IntegrationNotFoundError(body.integration_id)
    if usable and (body.integration_id or not body.add_new):
        request = await _request_existing(usable[0], body, state)
    else:
        first = f"first:{organization_id}"
        integration_id = uuid4() if body.add_new else await pending.click_id(first, state)
        request = ConnectRequest(integration_id, integration_id)
    stored = await state.idempotency.claim(organization_id, key, description, request.values)
    return ConnectRequest.from_stored(stored) if stored.replayed else request


async def _request_existing(
    found: IntegrationState, body: ConnectIntegration, state: AppState
) -> ConnectRequest:
    integration_id = found.integration_id
    if not body.force_recreate and (found.status == "connected" or found.has_valid_qr):
        return ConnectRequest(integration_id, None)
    if found.account_number is None:
        return ConnectRequest(integration_id, integration_id)
    click = f"{'recreate' if body.force_recreate else 'connect'}:{integration_id}"
    return ConnectRequest(integration_id, await pending.click_id(click, state), click)


async def resolve_reconnect(
    route: Literal["reconnect", "refresh"], integration_id: UUID, context: ProvisionContext
) -> ConnectRequest:
    """Return what to do to an existing integration; a failed creation is retried.

    Raises:
        IntegrationNotFoundError: the organization does not have the integration.
        IdempotencyConflictError: the key was used for a different request.
    """
    state, organization_id = context.state, context.organization_id
    found = await queries.get_integration(integration_id, organization_id, state)
    key = context.idempotency_key
    description = {"route": route, "integration_id": str(integration_id)}
    if stored := await state.idempotency.lookup(organization_id, key, description):
        return ConnectRequest.from_stored(stored)
    if found.account_number is None:
        request = ConnectRequest(integration_id, integration_id)
    else:
        poll = route == "refresh" and found.status in RUNNING
        action: ProvisionAction = "watch" if poll else "connect"
        click = f"{action}:{integration_id}"
        event_id = await pending.click_id(click, state)
        request = ConnectRequest(integration_id, event_id, click, action)
    stored = await state.idempotency.claim(organization_id, key, description, request.values)
    return ConnectRequest.from_stored(stored) if stored.replayed else request

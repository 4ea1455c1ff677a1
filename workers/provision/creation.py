"""Creates an integration: a client on the platform, its row in Supabase, its first token."""

from collections.abc import Callable

import structlog
from pydantic import SecretStr

from shared.database import Integration
from shared.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    LeaseLostError,
    PlatformError,
    RefusedError,
)
from shared.events import ProvisionEvent
from shared.lanes.types import Claim
from shared.outbox import Outbox
from shared.platform.models import CreatedClient
from shared.route_cache import IntegrationRoute
from workers import gates
from workers.context import WorkerContext

UNIQUE_VIOLATION = "23505"
"""SQLSTATE of a save when an integration of another organization has the same account."""

log = structlog.get_logger()


def create_integration(
    event: ProvisionEvent, existing: Integration | None, claim: Claim, ctx: WorkerContext
) -> Integration:
    """Create the client, and save its key and account under the id of the integration.

    Raises:
        LeaseLostError: another worker handles the event.
        PlatformError: the platform does not create the client.
    """
    sub_org_id = existing.sub_org_id if existing else _choose_sub_org_id(event, ctx)
    client = ctx.platform.create_client(sub_org_id or str(event.organization_id))
    extend_lease(claim, ctx)
    if existing and existing.account and existing.account != client.account:
        _try_to_stop(existing.account, ctx)
    saved = _save(event, existing, sub_org_id, client, ctx)
    extend_lease(claim, ctx)
    ctx.route_cache.refresh(saved.id, saved.organization_id)
    publish_change(saved, ctx)
    install_first_token(client.account, lambda: client.api_key, ctx)
    gates.open_gate(IntegrationRoute.from_integration(saved), ctx)
    extend_lease(claim, ctx)
    return saved


def install_first_token(account: str, api_key: Callable[[], SecretStr], ctx: WorkerContext) -> None:
    """Fetch the first token of a new key; further workers wait for it meanwhile."""
    ctx.tokens.install_first_token(account, lambda: ctx.platform.mint_first_token(api_key()))


def extend_lease(claim: Claim, ctx: WorkerContext) -> None:
    """Extend the lease of a claim between two steps.

    Raises:
        LeaseLostError: it has expired.
    """
    if not ctx.lanes.extend(claim):
        raise LeaseLostError


def publish_change(integration: Integration, ctx: WorkerContext) -> None:
    """Notify waiting requests and open pages of the organization."""
    change = {
        "organization_id": str(integration.organization_id),
        "integration_id": str(integration.id),
        "what": "session",
    }
    Outbox(ctx.redis).publish_changes([change])


def _save(
    event: ProvisionEvent,
    existing: Integration | None,
    sub_org_id: str | None,
    client: CreatedClient,
    ctx: WorkerContext,
) -> Integration:
    """Save the row of a created client.

    When Supabase refuses the row for good, the account is stopped, unless it belongs to another
    integration.
    """
    try:
        return ctx.database.integrations.save(
            integration_id=existing.id if existing else event.integration_id,
            organization_id=event.organization_id,
            name=event.name or (existing.name if existing else _choose_name(event, ctx)),
            account=client.account,
            api_key=client.api_key,
            sub_org_id=sub_org_id,
        )
    except DatabaseUnavailableError:
        raise
    except DatabaseError as error:
        if error.sqlstate != UNIQUE_VIOLATION:
            install_first_token(client.account, lambda: client.api_key, ctx)
            _try_to_stop(client.account, ctx)
        msg = f"the integration could not be saved, so its account was not started: {error}"
        raise RefusedError(msg) from error


def _choose_sub_org_id(event: ProvisionEvent, ctx: WorkerContext) -> str | None:
    """Return the platform's organization id for a further integration; None for the first.

    The platform has a single key and account per organization id. The returned id contains the id
    of the integration, so that a second attempt gets the same client.
    """
    others = ctx.database.integrations.list_for(event.organization_id)
    if all(other.sub_org_id for other in others):
        return None
    return f"{event.organization_id}__wpp__{event.integration_id.hex[:8]}"


def _choose_name(event: ProvisionEvent, ctx: WorkerContext) -> str:
    count = len(ctx.database.integrations.list_for(event.organization_id))
    return f"WhatsApp {count + 1}" if count else "WhatsApp"


def _try_to_stop(account: str, ctx: WorkerContext) -> None:
    try:
        ctx.as_account(account).stop()
    except PlatformError as error:
        log.warning("account.not_stopped", account=account, error=str(error))

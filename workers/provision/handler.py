"""Connects and disconnects integrations.

A worker may be killed after any step, so each step can be repeated: the platform returns the same
client for the same organization id, the row has an id that the request chose, and registering the
webhook and starting the account are idempotent. An interrupted connect starts over and ends with
a single client, row and account. Pairing polls the started account until its QR code is scanned.
"""

from collections.abc import Callable
from uuid import uuid4

import structlog

from shared import routing, signed_keys
from shared.causes import STARTED
from shared.database import Integration
from shared.errors import InvalidApiKeyError, LeaseLostError, PlatformError, RefusedError
from shared.events import ProvisionEvent, utc_now
from shared.lanes.types import Append, Claim, ClaimResult, Postponed, Settled
from shared.outcomes import SessionStatus
from shared.platform.models import StartResult
from shared.redis import keys
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.provision import pairing
from workers.provision.creation import (
    create_integration,
    extend_lease,
    install_first_token,
    publish_change,
)
from workers.retry import EVENT_BACKOFF

NOT_RUNNING = {400, 404, 409, 410}
"""HTTP status codes of a stop of an account that is gone or does not run."""

Step = Callable[[ProvisionEvent, Claim, WorkerContext], ClaimResult]

log = structlog.get_logger()


def handle_provision(event: ProvisionEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Run a provisioning event; an outage of the platform postpones it."""
    steps: dict[str, Step] = {
        "connect": connect,
        "watch": pairing.poll_pairing,
        "disconnect": disconnect,
    }
    try:
        return steps[event.action](event, claim, ctx)
    except LeaseLostError:
        return Postponed(0, "lease lost: another worker handles this event")
    except (InvalidApiKeyError, RefusedError) as error:
        return settle_as_refused(event, claim, error, ctx)
    except PlatformError as error:
        gates.close_platform_gate(ctx)
        wait_s = getattr(error, "retry_after_s", None) or EVENT_BACKOFF.after(claim.attempts)
        return Postponed(wait_s, str(error))


def connect(event: ProvisionEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Create what is missing, register the webhook, start the account, and begin pairing."""
    integration = _find_integration(event, ctx)
    was_removed = integration is None and not _creates_integration(event)
    if was_removed or ctx.redis.exists(keys.removed(event.integration_id)):
        return Settled("done", fields={"reason": "the integration was removed meanwhile"})
    if integration is None or event.force_recreate:
        integration = create_integration(event, integration, claim, ctx)
    elif integration.id == event.id:
        # An earlier attempt of this event created it, so its API key may still be too new.
        account = integration.account
        install_first_token(account, lambda: ctx.database.tokens.api_key(account), ctx)
        extend_lease(claim, ctx)
    else:
        # The key may have been repaired since it was refused.
        ctx.tokens.clear_refusal(integration.account)
    requested_at = utc_now()
    started = _register_and_start(integration.account, claim, ctx)
    if started.status == "connected":
        outcome = pairing.build_session_outcome(integration, "connected", requested_at, STARTED)
        return Settled("done", [outcome])
    status: SessionStatus = "qr_issued" if started.qr else "starting"
    outcome = pairing.build_session_outcome(
        integration, status, requested_at, STARTED, qr=started.qr
    )
    return Settled("done", [outcome], follow=[_begin_pairing(event, integration, ctx)])


def disconnect(event: ProvisionEvent, _claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Stop the account and remove the integration; its messages stay."""
    integration = ctx.database.integrations.get(event.integration_id)
    if integration is None or integration.organization_id != event.organization_id:
        return Settled("done", fields={"reason": "the integration does not exist"})
    try:
        ctx.as_account(integration.account).stop()
    except (RefusedError, InvalidApiKeyError) as error:
        if isinstance(error, RefusedError) and error.status not in NOT_RUNNING:
            raise
        log.info("account.already_stopped", account=integration.account, error=str(error))
    ctx.database.integrations.remove(integration.id, event.organization_id)
    ctx.route_cache.refresh(integration.id, event.organization_id)
    publish_change(integration, ctx)
    return Settled("done")


def settle_as_refused(
    event: ProvisionEvent, claim: Claim, error: PlatformError, ctx: WorkerContext
) -> ClaimResult:
    """Settle an event that the platform refused, and show the error on its integration."""
    result = dead_letter_provision(event, claim, error.code, str(error))
    integration = ctx.database.integrations.get(event.integration_id)
    if integration is None:
        return result
    outcome = pairing.build_session_outcome(
        integration, "error", utc_now(), error.code, error=str(error)
    )
    return Settled("failed", [*result.outcomes, outcome], result.fields)


def dead_letter_provision(event: ProvisionEvent, claim: Claim, reason: str, detail: str) -> Settled:
    """Settle an event as failed, with a dead letter that can be replayed."""
    return Settled(
        "failed",
        [build_dead_letter(event, claim, reason, detail)],
        {"reason": detail, "code": reason},
    )


def _creates_integration(event: ProvisionEvent) -> bool:
    """Return whether this event creates its integration: the two then have the same id."""
    return event.id == event.integration_id


def _find_integration(event: ProvisionEvent, ctx: WorkerContext) -> Integration | None:
    """Return the integration to connect; None where it has to be created.

    Without `add_new`, a first connect means the integration that the organization has by now.
    """
    integration = ctx.database.integrations.get(event.integration_id)
    if integration:
        return integration if integration.organization_id == event.organization_id else None
    if event.add_new or not _creates_integration(event):
        return None
    return next(iter(ctx.database.integrations.list_for(event.organization_id)), None)


def _register_and_start(account: str, claim: Claim, ctx: WorkerContext) -> StartResult:
    """Register the webhook, then start the account, so that no webhook of the start is lost.

    A platform that refuses a webhook before the start gets it again afterwards.
    """
    url = signed_keys.make_webhook_url(str(ctx.keys.wpp_public_url), account, ctx.keys.secrets)
    client = ctx.as_account(account)
    registered = True
    try:
        client.register_webhook(url)
    except RefusedError as error:
        log.info("webhook.refused_before_start", account=account, error=str(error))
        registered = False
    extend_lease(claim, ctx)
    started = client.start()
    if not registered:
        extend_lease(claim, ctx)
        client.register_webhook(url)
    return started


def _begin_pairing(event: ProvisionEvent, integration: Integration, ctx: WorkerContext) -> Append:
    """Return the event that polls the account; it supersedes an earlier poll."""
    polling = event.model_copy(
        update={"id": uuid4(), "action": "watch", "integration_id": integration.id}
    )
    ctx.redis.set(keys.pairing(integration.id), str(polling.id), ex=int(ctx.engine.wpp_max_age_s))
    return routing.route_provision(polling, delay_s=pairing.FIRST_POLL_S)

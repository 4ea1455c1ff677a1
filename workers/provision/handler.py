"""Provisioning: from a click to a connected number, in steps that may each be the last before a kill.

Every step is safe to take again: the platform hands back the same client for the same organization id, the row is
saved under an id that was chosen at the door, and the webhook and the start are idempotent. So a connect that was
interrupted starts over and ends in one client, one row, one account. How a started account is watched until somebody
has scanned its code is `watch.py`.
"""

from collections.abc import Callable
from uuid import uuid4

import structlog
from pydantic import SecretStr

from shared import routing, signed_keys
from shared.database import Integration
from shared.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    InvalidApiKeyError,
    LeaseLostError,
    PlatformError,
    RefusedError,
)
from shared.events import ProvisionEvent, utc_now
from shared.lanes.client import Append, Claim, ClaimResult, Postponed, Settled
from shared.outbox import Outbox
from shared.outcomes import SessionStatus
from shared.platform.models import CreatedClient, StartResult
from shared.redis import keys
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.provision import pairing
from workers.retry import EVENT_BACKOFF

OURS_ELSEWHERE = "23505"
"""SQLSTATE of a save that is refused because another organization has this very account."""
NOTHING_TO_STOP = {400, 404, 409, 410}
"""What the platform says to a stop of an account that is gone, or does not run."""

log = structlog.get_logger()


def handle_provision(event: ProvisionEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Do one provisioning event; a platform that does not answer is asked again later."""
    steps = {"connect": connect, "watch": pairing.poll_pairing, "disconnect": disconnect}
    try:
        return steps[event.action](event, claim, ctx)
    except LeaseLostError:
        return Postponed(0, "another worker does it")
    except (InvalidApiKeyError, RefusedError) as error:
        return refused(event, claim, error, ctx)
    except PlatformError as error:
        gates.close_platform_gate(ctx)
        return Postponed(
            getattr(error, "retry_after_s", None) or EVENT_BACKOFF.after(claim.attempts), str(error)
        )


def connect(event: ProvisionEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Create what is missing, register the webhook, start the account, and have it watched."""
    integration = _meant(event, ctx)
    if ctx.redis.exists(keys.removed(event.integration_id)) or (
        integration is None and not _is_birth(event)
    ):
        return Settled("done", fields={"reason": "it was removed meanwhile"})
    if integration is None or event.force_recreate:
        integration = _create(event, integration, claim, ctx)
    elif integration.id == event.id:  # born by an earlier attempt: its key may still be too new
        _first_token(
            integration.account, lambda: ctx.database.tokens.api_key(integration.account), ctx
        )
        _keep(claim, ctx)
    else:
        ctx.tokens.clear_refusal(
            integration.account
        )  # a person asks: the key may have been mended a moment ago
    asked = utc_now()
    started = _start(integration.account, claim, ctx)
    if started.status == "connected":
        return Settled(
            "done", [pairing.session_outcome(integration, "connected", asked, pairing.STARTED)]
        )
    status: SessionStatus = "qr_issued" if started.qr else "starting"
    outcome = pairing.session_outcome(integration, status, asked, pairing.STARTED, qr=started.qr)
    return Settled("done", [outcome], follow=[_watched(event, integration, ctx)])


def disconnect(event: ProvisionEvent, _claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Stop the account and remove the integration; messages stay."""
    integration = ctx.database.integrations.get(event.integration_id)
    if integration is None or integration.organization_id != event.organization_id:
        return Settled("done", fields={"reason": "there was no such number"})
    try:
        ctx.as_account(integration.account).stop()
    except (RefusedError, InvalidApiKeyError) as error:
        if isinstance(error, RefusedError) and error.status not in NOTHING_TO_STOP:
            raise
        log.info("account.gone", account=integration.account, error=str(error))
    ctx.database.integrations.remove(integration.id, event.organization_id)
    ctx.route_cache.refresh(integration.id, event.organization_id)
    _announce(integration, ctx)
    return Settled("done")


def refused(
    event: ProvisionEvent, claim: Claim, error: PlatformError, ctx: WorkerContext
) -> ClaimResult:
    """End an event that the platform refuses; its number shows why, and what to do is told by the reason."""
    verdict = dead_letter_provision(event, claim, error.code, str(error))
    integration = ctx.database.integrations.get(event.integration_id)
    if integration is None:
        return verdict
    shown = pairing.session_outcome(integration, "error", utc_now(), error.code, error=str(error))
    return Settled("failed", [*verdict.outcomes, shown], verdict.fields)


def dead_letter_provision(event: ProvisionEvent, claim: Claim, reason: str, detail: str) -> Settled:
    return Settled(
        "failed",
        [build_dead_letter(event, claim, reason, detail)],
        {"reason": detail, "code": reason},
    )


def _is_birth(event: ProvisionEvent) -> bool:
    """Return whether this event was to make its number; any other one is about a number that was there."""
    return event.id == event.integration_id


def _meant(event: ProvisionEvent, ctx: WorkerContext) -> Integration | None:
    """Return the number that is to be connected, or None when it has to be made.

    Whoever did not ask for a further number means the one that their organization has got meanwhile.
    """
    found = ctx.database.integrations.get(event.integration_id)
    if found or event.add_new or not _is_birth(event):
        return found if found and found.organization_id == event.organization_id else None
    return next(iter(ctx.database.integrations.list_for(event.organization_id)), None)


def _create(
    event: ProvisionEvent, existing: Integration | None, claim: Claim, ctx: WorkerContext
) -> Integration:
    """Have the platform create the client, and save its key and account under the integration's id."""
    sub_organization = existing.sub_org_id if existing else _sub_organization(event, ctx)
    client = ctx.platform.create_client(sub_organization or str(event.organization_id))
    _keep(claim, ctx)
    if existing and existing.account and existing.account != client.account:
        _stop_quietly(existing.account, ctx)
    saved = _save(event, existing, sub_organization, client, ctx)
    _keep(claim, ctx)
    ctx.route_cache.refresh(saved.id, saved.organization_id)
    _announce(saved, ctx)
    _first_token(client.account, lambda: client.api_key, ctx)
    ctx.lanes.open_gate(routing.integration_gate(saved.id))
    _keep(claim, ctx)
    return saved


def _first_token(account: str, api_key: Callable[[], SecretStr], ctx: WorkerContext) -> None:
    """Get the first token of a new key; meanwhile nobody else asks with it."""
    ctx.tokens.install_first_token(account, lambda: ctx.platform.mint_first_token(api_key()))


def _save(
    event: ProvisionEvent,
    existing: Integration | None,
    sub_organization: str | None,
    client: CreatedClient,
    ctx: WorkerContext,
) -> Integration:
    """Save what the platform has created; where Supabase refuses it for good, nothing of it is left running there."""
    try:
        return ctx.database.integrations.save(
            integration_id=existing.id if existing else event.integration_id,
            organization_id=event.organization_id,
            name=event.name or (existing.name if existing else _name(event, ctx)),
            account=client.account,
            api_key=client.api_key,
            sub_org_id=sub_organization,
        )
    except DatabaseUnavailableError:
        raise
    except DatabaseError as error:
        if error.sqlstate != OURS_ELSEWHERE:
            _first_token(client.account, lambda: client.api_key, ctx)
            _stop_quietly(client.account, ctx)
        msg = f"the number could not be saved, so it was not started: {error}"
        raise RefusedError(msg) from error


def _sub_organization(event: ProvisionEvent, ctx: WorkerContext) -> str | None:
    """Return the platform's organization id for a further number, or None for the first one.

    One organization id is one key and one account over there, so each further number needs its own; ours is made of
    the integration's id, so that a second try finds the same client.
    """
    others = ctx.database.integrations.list_for(event.organization_id)
    if all(other.sub_org_id for other in others):
        return None
    return f"{event.organization_id}__wpp__{event.integration_id.hex[:8]}"


def _name(event: ProvisionEvent, ctx: WorkerContext) -> str:
    others = len(ctx.database.integrations.list_for(event.organization_id))
    return f"WhatsApp {others + 1}" if others else "WhatsApp"


def _start(account: str, claim: Claim, ctx: WorkerContext) -> StartResult:
    """Register the webhook, then start: the code may be late, its webhook finds us in any case.

    A platform that knows no webhook for an account before it runs is told once more when it does.
    """
    url = signed_keys.make_webhook_url(str(ctx.keys.wpp_public_url), account, ctx.keys.secrets)
    registered = True
    try:
        ctx.as_account(account).register_webhook(url)
    except RefusedError as error:
        log.info("webhook.too_early", account=account, error=str(error))
        registered = False
    _keep(claim, ctx)
    started = ctx.as_account(account).start()
    if not registered:
        _keep(claim, ctx)
        ctx.as_account(account).register_webhook(url)
    return started


def _watched(event: ProvisionEvent, integration: Integration, ctx: WorkerContext) -> Append:
    """Return the watch that follows a start; an earlier one over the same account ends."""
    following = event.model_copy(
        update={"id": uuid4(), "action": "watch", "integration_id": integration.id}
    )
    ctx.redis.set(
        keys.pairing(integration.id),
        str(following.id),
        ex=int(ctx.engine.wpp_max_age_s),
    )
    return routing.route_provision(following, delay_s=pairing.FIRST_LOOK_S)


def _stop_quietly(account: str, ctx: WorkerContext) -> None:
    try:
        ctx.as_account(account).stop()
    except PlatformError as error:
        log.warning("account.not_stopped", account=account, error=str(error))


def _keep(claim: Claim, ctx: WorkerContext) -> None:
    if not ctx.lanes.extend(claim):
        raise LeaseLostError


def _announce(integration: Integration, ctx: WorkerContext) -> None:
    """Tell the pages that watch this organization to look again."""
    change = {
        "organization_id": str(integration.organization_id),
        "integration_id": str(integration.id),
    }
    Outbox(ctx.redis, consumer="").publish_changes([change | {"what": "session"}])

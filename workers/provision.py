"""Provisioning: from a click to a connected number, in steps that may each be the last before a kill.

Every step is safe to take again: the platform hands back the same client for the same organization id, the row is
saved under an id that was chosen at the door, and the webhook and the start are idempotent. So a connect that was
interrupted starts over and ends in one client, one row, one account.
"""

from datetime import datetime
from uuid import uuid4

import structlog

from shared import access, intake
from shared.database import Integration
from shared.errors import InvalidApiKeyError, NotFoundError, PlatformError, RefusedError
from shared.events import ProvisionEvent, utc_now
from shared.lanes import Append, Claim, Postponed, Settled, Verdict
from shared.outcomes import SessionOutcome, SessionStatus
from workers.dead_letters import dead_letter
from workers.drain import back_off
from workers.services import Services

FIRST_LOOK_S = 2.0
"""How long after a start the account is looked at, in case its webhook does not come."""

log = structlog.get_logger()


def handle(claim: Claim, here: Services) -> Verdict:
    """Do one provisioning event; a platform that does not answer is asked again later."""
    event = ProvisionEvent.model_validate_json(claim.body)
    steps = {"connect": connect, "watch": watch, "disconnect": disconnect}
    try:
        return steps[event.action](event, claim, here)
    except NotFoundError as error:
        return give_up(claim, error.code, str(error))
    except (InvalidApiKeyError, RefusedError) as error:
        here.database.report_error(event.integration_id, str(error))
        return give_up(claim, error.code, str(error))
    except PlatformError as error:
        return Postponed(back_off(claim.attempts), str(error))


def connect(event: ProvisionEvent, claim: Claim, here: Services) -> Verdict:
    """Create what is missing, register the webhook, start the account."""
    integration = here.database.integration(event.integration_id)
    if integration is None or event.force_recreate:
        integration = _create(event, integration, here)
        here.lanes.extend(claim)
    here.platform.register_webhook(
        integration.account, access.webhook_url(str(here.keys.wpp_public_url), integration.account, here.keys.secrets)
    )
    asked = utc_now()
    started = here.platform.start(integration.account)
    status: SessionStatus = "connected" if started.status == "connected" else "starting"
    outcome = _session(integration.account, status, started.qr, "started", asked)
    follow = [] if status == "connected" else [_watch(event)]
    return Settled("done", [outcome], {"status": outcome.status}, follow)


def watch(event: ProvisionEvent, claim: Claim, here: Services) -> Verdict:
    """Look at a started account until it is connected, for as long as somebody may still scan its code."""
    integration = here.database.integration(event.integration_id)
    if integration is None:  # disconnected meanwhile
        return Settled("done")
    asked = utc_now()
    status = here.platform.status(integration.account)
    if status == "connected":
        return Settled("done", [_session(integration.account, "connected", None, "looked at", asked)])
    age_s = (claim.now_ms - claim.accepted_ms) / 1000
    if age_s > here.engine.wpp_watch_limit_s:
        return Settled("done", [_session(integration.account, "disconnected", None, "nobody scanned the code", asked)])
    qr = here.platform.qr(integration.account)
    news = [_session(integration.account, "qr_issued", qr, "looked at", asked)] if qr else []
    return Postponed(min(FIRST_LOOK_S + age_s / 10, 15), "waiting for the scan", news)


def disconnect(event: ProvisionEvent, _claim: Claim, here: Services) -> Verdict:
    """Stop the account and remove the integration; messages stay."""
    integration = _known(event, here)
    try:
        here.platform.stop(integration.account)
    except (RefusedError, InvalidApiKeyError) as error:  # already gone there: nothing to stop
        log.info("account.gone", account=integration.account, error=str(error))
    here.database.remove_integration(integration.id, event.organization_id)
    here.directory.forget(integration.id, event.organization_id)
    return Settled(
        "done", [_session(integration.account, "disconnected", None, "disconnected by the organization", utc_now())]
    )


def give_up(claim: Claim, reason: str, detail: str) -> Verdict:
    event = ProvisionEvent.model_validate_json(claim.body)
    return Settled("failed", [dead_letter(event, claim, reason, detail)], {"reason": detail})


def _create(event: ProvisionEvent, existing: Integration | None, here: Services) -> Integration:
    """Have the platform create the client, and save its key and account under the integration's id."""
    sub_organization = existing.sub_org_id if existing else _sub_organization(event, here)
    client = here.platform.create_client(sub_organization or str(event.organization_id))
    saved = here.database.save_integration(
        integration_id=event.integration_id,
        organization_id=event.organization_id,
        name=event.name or (existing.name if existing else "WhatsApp"),
        account=client.account,
        api_key=client.api_key,
        sub_org_id=sub_organization,
    )
    here.directory.forget(saved.id, saved.organization_id)
    here.directory.find(saved.id)
    here.tokens.adopt(client.account, here.platform.initial_token(client.api_key))
    here.lanes.open_gate(intake.integration_gate(event.integration_id))
    return saved


def _sub_organization(event: ProvisionEvent, here: Services) -> str | None:
    """Return the platform's organization id for a further number, or None for the first one.

    One organization id is one key and one account over there, so each further number needs its own; ours is made of
    the integration's id, so that a second try finds the same client.
    """
    others = here.database.integrations(event.organization_id)
    if all(other.sub_org_id for other in others):
        return None
    return f"{event.organization_id}__wpp__{event.integration_id.hex[:8]}"


def _known(event: ProvisionEvent, here: Services) -> Integration:
    integration = here.database.integration(event.integration_id)
    if integration is None or integration.organization_id != event.organization_id:
        msg = f"no integration {event.integration_id} in this organization"
        raise NotFoundError(msg)
    return integration


def _watch(event: ProvisionEvent) -> Append:
    return intake.provision(event.model_copy(update={"id": uuid4(), "action": "watch"}), delay_s=FIRST_LOOK_S)


def _session(account: str, status: SessionStatus, qr: str | None, reason: str, asked: datetime) -> SessionOutcome:
    """Return the state as of `asked`, before the platform was: what its webhooks told meanwhile is newer."""
    return SessionOutcome(at=asked, account=account, status="qr_issued" if qr else status, qr=qr, reason=reason)

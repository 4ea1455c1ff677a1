"""Pairing: polls a started account until its QR code is scanned.

The polling is a single event that is postponed from poll to poll, so no thread waits. Webhooks
report the same changes sooner. Polls find what a lost webhook would have reported, and become rare
while webhooks arrive.
"""

from contextlib import suppress
from datetime import datetime

from shared.causes import NOT_SCANNED, POLLED, STARTED, TAKEN_OFFLINE
from shared.database import Integration
from shared.errors import PlatformError
from shared.events import ProvisionEvent, utc_now
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.outcomes import Outcome, SessionOutcome, SessionStatus
from shared.redis import keys
from workers.context import WorkerContext

FIRST_POLL_S = 1.0
"""How long after the start the first poll comes."""
MAX_PAUSE_S = 10.0
OFFLINE_GRACE_S = 10.0
"""How long a started account may still report itself offline."""


def poll_pairing(event: ProvisionEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Poll a started account once; poll again later while its code may still be scanned."""
    integration = ctx.database.integrations.get(event.integration_id)
    if integration is None or _is_superseded(event, ctx):
        return Settled("done", fields={"reason": "removed, or a newer connect polls it"})
    if integration.status == "connected" and _changed_since_start(event, integration):
        return Settled("done")
    age_s = (claim.now_ms - claim.accepted_ms) / 1000
    requested_at = utc_now()
    client = ctx.as_account(integration.account)
    status = client.get_status()
    outcomes: list[Outcome] = []
    if status == "connected":
        if integration.status != "connected":
            outcomes.append(build_session_outcome(integration, status, requested_at))
        return Settled("done", outcomes)
    if age_s > ctx.engine.wpp_watch_limit_s:
        return _end_pairing(integration, NOT_SCANNED, ctx)
    if status == "offline" and age_s > OFFLINE_GRACE_S:
        return _end_pairing(integration, TAKEN_OFFLINE, ctx)
    qr = client.get_qr()
    if qr and qr != integration.qr:
        outcomes.append(build_session_outcome(integration, "qr_issued", requested_at, qr=qr))
    pause_s = _choose_pause_s(age_s, event, integration)
    return Postponed(pause_s, "waiting for the scan of the QR code", outcomes)


def build_session_outcome(
    integration: Integration,
    status: SessionStatus,
    requested_at: datetime,
    reason: str = POLLED,
    **fields: str | None,
) -> SessionOutcome:
    """Return the status as of `requested_at`, a time before the platform was called.

    A webhook that arrives during the call is thus newer than this outcome.
    """
    return SessionOutcome(
        at=requested_at, account=integration.account, status=status, reason=reason, **fields
    )


def _is_superseded(event: ProvisionEvent, ctx: WorkerContext) -> bool:
    latest = ctx.redis.get(keys.pairing(event.integration_id))
    return isinstance(latest, bytes) and latest.decode() != str(event.id)


def _changed_since_start(event: ProvisionEvent, integration: Integration) -> bool:
    return bool(integration.status_at and integration.status_at >= event.accepted_at)


def _end_pairing(integration: Integration, reason: str, ctx: WorkerContext) -> ClaimResult:
    """Stop the account, so that it issues no more codes; a failure to stop it is ignored."""
    with suppress(PlatformError):
        ctx.as_account(integration.account).stop()
    outcome = build_session_outcome(integration, "disconnected", utc_now(), reason)
    return Settled("done", [outcome])


def _choose_pause_s(age_s: float, event: ProvisionEvent, integration: Integration) -> float:
    has_webhooks = integration.status_reason not in {STARTED, POLLED}
    if has_webhooks and _changed_since_start(event, integration):
        return MAX_PAUSE_S
    return min(FIRST_POLL_S + age_s / 10, MAX_PAUSE_S)

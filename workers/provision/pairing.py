"""Watching a started account until somebody has scanned its code: by looks that are spread over time.

The watch is one event that is postponed from look to look: no thread waits. Webhooks tell the same sooner; the looks
find what a webhook that never came would have said, and get rarer while webhooks do come.
"""

import contextlib
from datetime import datetime

from shared.database import Integration
from shared.errors import PlatformError
from shared.events import ProvisionEvent, utc_now
from shared.lanes.client import Claim, ClaimResult, Postponed, Settled
from shared.outcomes import SessionOutcome, SessionStatus
from shared.redis import keys
from workers.context import WorkerContext

FIRST_LOOK_S = 1.0
"""How long after a start the account is looked at, in case its webhook does not come."""
LONGEST_PAUSE_S = 10.0
GRACE_S = 10.0
"""How long a started account may still call itself offline."""
STARTED, LOOKED = "started", "looked at"
"""Why a state is what it is, when we found out ourselves."""


def poll_pairing(event: ProvisionEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Look once at an account that has been started; look again later, for as long as somebody may still scan."""
    integration = ctx.database.integrations.get(event.integration_id)
    if integration is None or _superseded(event, ctx):
        return Settled("done", fields={"reason": "nobody awaits it any more"})
    if integration.status == "connected" and _told_since(event, integration):
        return Settled("done")
    age_s = (claim.now_ms - claim.accepted_ms) / 1000
    asked = utc_now()
    status = ctx.as_account(integration.account).get_status()
    if status == "connected":
        return Settled(
            "done",
            []
            if integration.status == "connected"
            else [session_outcome(integration, status, asked)],
        )
    if age_s > ctx.engine.wpp_watch_limit_s:
        return _ended(integration, "nobody scanned the code", ctx)
    if status == "offline" and age_s > GRACE_S:
        return _ended(
            integration, "the platform took the account offline before its code was scanned", ctx
        )
    qr = ctx.as_account(integration.account).get_qr()
    news = (
        [session_outcome(integration, "qr_issued", asked, qr=qr)]
        if qr and qr != integration.qr
        else []
    )
    return Postponed(_pause_s(age_s, event, integration), "waiting for the scan", news)


def _superseded(event: ProvisionEvent, ctx: WorkerContext) -> bool:
    latest = ctx.redis.get(keys.pairing(event.integration_id))
    return isinstance(latest, bytes) and latest.decode() != str(event.id)


def _told_since(event: ProvisionEvent, integration: Integration) -> bool:
    return bool(integration.status_at and integration.status_at >= event.accepted_at)


def session_outcome(
    integration: Integration,
    status: SessionStatus,
    asked: datetime,
    reason: str = LOOKED,
    **more: str | None,
) -> SessionOutcome:
    """Return the state as of `asked`, before the platform was: what its webhooks told meanwhile is newer."""
    return SessionOutcome(
        at=asked, account=integration.account, status=status, reason=reason, **more
    )


def _ended(integration: Integration, reason: str, ctx: WorkerContext) -> ClaimResult:
    """Give up on a scan: the account stops making codes, and nobody asks for it any more."""
    with contextlib.suppress(
        PlatformError
    ):  # then it makes codes that nobody sees, until the next connect
        ctx.as_account(integration.account).stop()
    return Settled("done", [session_outcome(integration, "disconnected", utc_now(), reason)])


def _pause_s(age_s: float, event: ProvisionEvent, integration: Integration) -> float:
    if _told_since(event, integration) and integration.status_reason not in (
        STARTED,
        LOOKED,
    ):  # webhooks arrive
        return LONGEST_PAUSE_S
    return min(FIRST_LOOK_S + age_s / 10, LONGEST_PAUSE_S)

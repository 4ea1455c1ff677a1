"""Health checks: request the status of integrations without a recent webhook.

A recent webhook proves that an integration works. Without it, the status is requested at most once
in `wpp_check_every_s`, and of all integrations together at most `wpp_checks_per_second` times a
second, over all clocks. Integrations with an error are checked more rarely: their key may
have been repaired elsewhere. Disconnected integrations are not checked.
"""

import time
from datetime import datetime, timedelta
from threading import Event as Flag

import redis
import structlog

from shared.database import Integration
from shared.errors import DatabaseError, InvalidApiKeyError, PlatformError, RefusedError
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import SessionOutcome, SessionStatus
from shared.platform.models import AccountStatus
from shared.redis import keys
from shared.settings import EngineSettings
from workers.context import WorkerContext, worker_context
from workers.provision.pairing import POLLED, build_session_outcome

ROUND_PAUSE_S = 15.0
"""Pause between two rounds over all integrations."""
ERROR_INTERVALS = 12
"""After how many check intervals an integration with an error is checked again."""

SILENT = "no webhook since a message was sent"
ACTIVE = "webhook received"
RESTARTING = "the platform restarts the account"
DISCONNECTED_REASONS: dict[AccountStatus, str] = {
    "offline": "the platform reports the account offline",
    "qr_required": "the phone is no longer linked",
}

log = structlog.get_logger()


def run_health_checks(stopping: Flag, pause_s: float = ROUND_PAUSE_S) -> None:
    """Check all integrations in rounds until the process stops."""
    while not stopping.wait(pause_s):
        try:
            check_all(worker_context(), stopping)
        except (DatabaseError, redis.RedisError) as error:
            log.warning("health_checks.round_failed", error=str(error))


def check_all(ctx: WorkerContext, stopping: Flag) -> int:
    """Check each integration that is due; return the number of status requests.

    A failed request ends the round only when the circuit breaker is open: an account with refused
    tokens must not keep the remaining integrations from being checked.
    """
    requests = 0
    for integration in ctx.database.integrations.iterate():
        if stopping.is_set():
            break
        if not _is_candidate(integration, ctx.engine):
            continue
        if is_active(integration, ctx.engine) and not integration.last_error:
            if integration.status == "degraded":
                _record(build_session_outcome(integration, "connected", utc_now(), ACTIVE), ctx)
        elif _acquire_check(integration, ctx, stopping):
            requests += 1
            if not _try_check(integration, ctx) and ctx.breaker.state().name == "open":
                break
    return requests


def check_session(integration: Integration, ctx: WorkerContext) -> None:
    """Request the status of an integration and record what has changed.

    Raises:
        PlatformError: the platform did not answer.
    """
    requested_at = utc_now()
    try:
        status = ctx.as_account(integration.account).get_status()
    except (InvalidApiKeyError, RefusedError) as error:
        outcome = build_session_outcome(
            integration, "error", requested_at, error.code, error=str(error)
        )
        _record(outcome, ctx)
        return
    if change := detect_change(integration, status, requested_at, ctx.engine):
        _record(change, ctx)


def _try_check(integration: Integration, ctx: WorkerContext) -> bool:
    try:
        check_session(integration, ctx)
    except PlatformError as error:
        log.warning("health_check.failed", account=integration.account, error=str(error))
        return False
    return True


def detect_change(
    integration: Integration, status: AccountStatus, requested_at: datetime, engine: EngineSettings
) -> SessionOutcome | None:
    """Return what the account's status on the platform changes about an integration, if anything.

    Any answer proves that the key is valid, so it also ends an error.
    """

    def change_to(new_status: SessionStatus, reason: str) -> SessionOutcome:
        return build_session_outcome(integration, new_status, requested_at, reason)

    if reason := DISCONNECTED_REASONS.get(status):
        return change_to("disconnected", reason)
    if status == "starting":
        return None if integration.status == "starting" else change_to("starting", RESTARTING)
    silent_since = integration.awaited_since
    if silent_since and requested_at - silent_since > timedelta(seconds=engine.wpp_silence_s):
        return None if integration.status == "degraded" else change_to("degraded", SILENT)
    if integration.status == "connected" and not integration.last_error:
        return None
    return change_to("connected", POLLED)


def is_active(integration: Integration, engine: EngineSettings) -> bool:
    """Return whether a webhook of this integration arrived within the check interval."""
    received = [at for at in (integration.last_inbound_at, integration.last_ack_at) if at]
    interval = timedelta(seconds=engine.wpp_check_every_s)
    return bool(received) and utc_now() - max(received) < interval


def _is_candidate(integration: Integration, engine: EngineSettings) -> bool:
    """Return whether to check an integration: it should work, or its status is outdated."""
    if not integration.account:
        return False
    if integration.status in {"connected", "degraded"}:
        return True
    outdated_after_s = {
        "starting": 2 * engine.wpp_watch_limit_s,  # its pairing should have ended
        "qr_issued": 2 * engine.wpp_watch_limit_s,
        "error": ERROR_INTERVALS * engine.wpp_check_every_s,
    }.get(integration.status)
    since = integration.status_at or integration.created_at
    if outdated_after_s is None or since is None:
        return False
    return utc_now() - since > timedelta(seconds=outdated_after_s)


def _acquire_check(integration: Integration, ctx: WorkerContext, stopping: Flag) -> bool:
    """Reserve the check of an integration, then wait for a second with budget left."""
    interval_ms = int(ctx.engine.wpp_check_every_s * 1000)
    if not ctx.redis.set(keys.health_check(integration.id), 1, nx=True, px=interval_ms):
        return False
    while not stopping.is_set():
        counter = keys.health_checks(int(time.time()))
        pipe = ctx.redis.pipeline(transaction=True)
        pipe.incr(counter)
        pipe.expire(counter, 5)
        if pipe.execute()[0] <= ctx.engine.wpp_checks_per_second:
            return True
        stopping.wait(1 - time.time() % 1)
    return False


def _record(outcome: SessionOutcome, ctx: WorkerContext) -> None:
    log.info(
        "session.changed", account=outcome.account, status=outcome.status, reason=outcome.reason
    )
    Outbox(ctx.redis, consumer="").add([outcome])

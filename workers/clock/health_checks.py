"""Health checks: request the status of integrations without a recent webhook.

A recent webhook proves that an integration works. Without it, the status is requested at most once
in `wpp_check_every_s`, and of all integrations together at most `wpp_checks_per_second` times a
second, over all clocks. Integrations with an error are checked more rarely: their key may
have been repaired elsewhere. Disconnected integrations are not checked.

A check uses a valid token and refreshes none. An idle integration has no token, and is checked at
most once in `wpp_idle_check_s`, at a time of day that its id decides. The platform's webhook
reports an unlinked phone at once; without it, the next message finds out, or that daily check.

Checks run side by side: accounts that do not answer delay no other account.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any

import redis
import structlog

from shared.causes import ACTIVE, POLLED, REPORTED_OFFLINE, RESTARTING, SILENT, UNLINKED
from shared.database import Integration
from shared.errors import DatabaseError, InvalidApiKeyError, PipelineError, RefusedError
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import SessionOutcome, SessionStatus
from shared.platform.models import AccountStatus
from shared.redis import keys
from shared.settings import EngineSettings
from shared.shards import EVERYTHING, ShardPart
from workers.context import WorkerContext, worker_context
from workers.provision.pairing import build_session_outcome

ROUND_PAUSE_S = 15.0
"""Pause between two rounds over all integrations."""
CHECK_TIMEOUT_S = 5.0
"""Limit of one status request."""
MAX_THREADS = 128
ERROR_INTERVALS = 12
"""After how many check intervals an integration with an error is checked again."""

DISCONNECTED_REASONS: dict[AccountStatus, str] = {
    "offline": REPORTED_OFFLINE,
    "qr_required": UNLINKED,
}

log = structlog.get_logger()


def run_health_checks(
    stopping: Flag, pause_s: float = ROUND_PAUSE_S, part: ShardPart = EVERYTHING
) -> None:
    """Check all integrations of a shard in rounds until the process stops."""
    while not stopping.wait(pause_s):
        try:
            check_all(worker_context(), stopping, part)
        except (DatabaseError, redis.RedisError) as error:
            log.warning("health_checks.round_failed", error=str(error))


def check_all(ctx: WorkerContext, stopping: Flag, part: ShardPart = EVERYTHING) -> int:
    """Check each integration that is due; return the number of status requests.

    The round ends while the circuit breaker of the platform is open.
    """
    requests = 0
    with ThreadPoolExecutor(_count_threads(ctx.engine), "health-check") as threads:
        for integration in ctx.database.integrations.iterate():
            if stopping.is_set() or ctx.breaker.state().name == "open":
                break
            if not _is_candidate(integration, ctx.engine) or not part.has(
                integration.organization_id
            ):
                continue
            if is_active(integration, ctx.engine) and not integration.last_error:
                if integration.status == "degraded":
                    _record(build_session_outcome(integration, "connected", utc_now(), ACTIVE), ctx)
            elif _acquire_check(integration, ctx, stopping):
                requests += 1
                threads.submit(_try_check, integration, ctx)
    return requests


def _count_threads(engine: EngineSettings) -> int:
    """Return how many checks run at most when each lasts until its deadline."""
    return min(MAX_THREADS, int(engine.wpp_checks_per_second * CHECK_TIMEOUT_S) + 1)


def check_session(integration: Integration, ctx: WorkerContext) -> None:
    """Request the status of an integration and record what has changed.

    Raises:
        PlatformError: the platform did not answer.
    """
    requested_at = utc_now()
    try:
        account = ctx.as_account(integration.account, refresh_ahead=False)
        status = account.get_status(deadline_s=CHECK_TIMEOUT_S)
    except (InvalidApiKeyError, RefusedError) as error:
        outcome = build_session_outcome(
            integration, "error", requested_at, error.code, error=str(error)
        )
        _record(outcome, ctx)
        return
    if change := detect_change(integration, status, requested_at, ctx.engine):
        _record(change, ctx)


def _try_check(integration: Integration, ctx: WorkerContext) -> None:
    try:
        check_session(integration, ctx)
    except (PipelineError, redis.RedisError) as error:
        log.warning("health_check.failed", account=integration.account, error=str(error))
    except Exception:
        log.exception("health_check.failed", account=integration.account)


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
    if not _may_use_token(integration, ctx):
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


def _may_use_token(integration: Integration, ctx: WorkerContext) -> bool:
    """Return whether a check may request a token, or needs none.

    An integration that only seems idle is no exception: it may wait for a webhook that is lost.
    """
    is_idle = integration.status == "connected" and not (
        integration.awaited_since or integration.last_error
    )
    if not is_idle or ctx.tokens.find(integration.account):
        return True
    interval_s = ctx.engine.wpp_idle_check_s
    period = int((time.time() + integration.id.int % int(interval_s + 1)) // interval_s)
    last: Any = ctx.redis.set(
        keys.idle_check(integration.id), period, get=True, px=int(2 * interval_s * 1000)
    )
    return last is not None and int(last) < period


def _record(outcome: SessionOutcome, ctx: WorkerContext) -> None:
    log.debug(
        "session.changed", account=outcome.account, status=outcome.status, reason=outcome.reason
    )
    Outbox(ctx.redis).add([outcome])

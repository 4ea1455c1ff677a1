"""Health by evidence: what is connected is looked at now and then, and doubted when nothing is heard of it.

A number of which something was heard lately needs no look. The others are asked about, each at most once in
`wpp_check_every_s` and all together at most `wpp_checks_per_second` times a second, however many clocks run. One that
is wrong is asked about much more rarely: its key may have been repaired elsewhere. What is disconnected, or was never
scanned, is left alone.
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
from shared.outcomes import SessionOutcome
from shared.platform.models import AccountStatus
from shared.redis import keys
from shared.settings import EngineSettings
from workers.context import WorkerContext, worker_context
from workers.provision.pairing import LOOKED, session_outcome

ROUND_S = 15.0
"""From the end of one walk over all numbers to the next."""
WRONG_ROUNDS = 12
"""How many times as long as between two looks at a number that works one that is wrong is left alone."""
SILENT = "nothing was heard since a message went out"
HEARD = "heard of again"
LOST: dict[AccountStatus, str] = {
    "offline": "the platform says it is offline",
    "qr_required": "its phone is no longer linked",
}

log = structlog.get_logger()


def run_health_checks(stopping: Flag) -> None:
    """Walk over all numbers again and again until told to stop."""
    while not stopping.wait(ROUND_S):
        try:
            check_all(worker_context(), stopping)
        except (DatabaseError, redis.RedisError) as error:
            log.warning("sessions.not_checked", error=str(error))


def check_all(ctx: WorkerContext, stopping: Flag) -> int:
    """Look at each number that needs it; return how many were asked about at the platform.

    A look without an answer says nothing about its number, and ends the round only when the platform is in trouble:
    one account with a token that is never taken must not stand before all others.
    """
    asked = 0
    for integration in ctx.database.integrations.iterate():
        if stopping.is_set():
            break
        if not _needs_a_look(integration, ctx.engine):
            continue
        if heard_lately(integration, ctx.engine) and not integration.last_error:
            if integration.status == "degraded":
                _tell(session_outcome(integration, "connected", utc_now(), HEARD), ctx)
        elif _may_ask(integration, ctx, stopping):
            asked += 1
            if not _looked(integration, ctx) and ctx.breaker.state().name == "open":
                break
    return asked


def check_session(integration: Integration, ctx: WorkerContext) -> None:
    """Ask the platform about one number, and record what has changed."""
    asked = utc_now()
    try:
        status = ctx.as_account(integration.account).get_status()
    except (InvalidApiKeyError, RefusedError) as error:
        _tell(session_outcome(integration, "error", asked, error.code, error=str(error)), ctx)
        return
    if news := judge_session(integration, status, asked, ctx.engine):
        _tell(news, ctx)


def _looked(integration: Integration, ctx: WorkerContext) -> bool:
    try:
        check_session(integration, ctx)
    except PlatformError as error:
        log.warning("session.not_checked", account=integration.account, error=str(error))
        return False
    return True


def judge_session(
    integration: Integration, status: AccountStatus, asked: datetime, engine: EngineSettings
) -> SessionOutcome | None:
    """Return what has changed about a number whose account the platform says is in `status`; None for nothing.

    An answer at all shows that its key is good, so an error that is still shown is over.
    """
    if reason := LOST.get(status):
        return session_outcome(integration, "disconnected", asked, reason)
    if status == "starting":
        started = integration.status == "starting"
        return (
            None
            if started
            else session_outcome(
                integration, "starting", asked, "the platform is starting it again"
            )
        )
    since = integration.awaited_since
    if since and asked - since > timedelta(seconds=engine.wpp_silence_s):
        return (
            None
            if integration.status == "degraded"
            else session_outcome(integration, "degraded", asked, SILENT)
        )
    well = integration.status == "connected" and not integration.last_error
    return None if well else session_outcome(integration, "connected", asked, LOOKED)


def heard_lately(integration: Integration, engine: EngineSettings) -> bool:
    """Return whether something came from this number within the time between two looks."""
    heard = [at for at in (integration.last_inbound_at, integration.last_ack_at) if at]
    return bool(heard) and utc_now() - max(heard) < timedelta(seconds=engine.wpp_check_every_s)


def _needs_a_look(integration: Integration, engine: EngineSettings) -> bool:
    """A number that ought to work; or one that was left as it is for too long, so that it may have gone wrong."""
    if not integration.account:
        return False
    if integration.status in {"connected", "degraded"}:
        return True
    stale_s = {
        "starting": 2 * engine.wpp_watch_limit_s,  # its watch should have ended
        "qr_issued": 2 * engine.wpp_watch_limit_s,
        "error": WRONG_ROUNDS * engine.wpp_check_every_s,
    }.get(integration.status)
    since = integration.status_at or integration.created_at
    return (
        stale_s is not None and since is not None and utc_now() - since > timedelta(seconds=stale_s)
    )


def _may_ask(integration: Integration, ctx: WorkerContext, stopping: Flag) -> bool:
    """Take the right to ask about a number now: its own turn, and a place in a second that has one left."""
    turn = keys.health_check(integration.id)
    if not ctx.redis.set(turn, 1, nx=True, px=int(ctx.engine.wpp_check_every_s * 1000)):
        return False
    while not stopping.is_set():
        second = keys.health_checks(int(time.time()))
        pipe = ctx.redis.pipeline(transaction=True)
        pipe.incr(second)
        pipe.expire(second, 5)
        if pipe.execute()[0] <= ctx.engine.wpp_checks_per_second:
            return True
        stopping.wait(1 - time.time() % 1)
    return False


def _tell(outcome: SessionOutcome, ctx: WorkerContext) -> None:
    log.info(
        "session.changed", account=outcome.account, status=outcome.status, reason=outcome.reason
    )
    Outbox(ctx.redis, consumer="").add([outcome])

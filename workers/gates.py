"""Gates: hold the lanes of an integration or of the platform while no event in them can succeed.

The reasons lie outside the events: a refused key, an unlinked phone, a failing platform. Held lanes
keep their order and are not claimed. A gate has a reason and a TTL; when it expires, a single
event tries again.
"""

import time
from collections.abc import Mapping
from contextlib import suppress

import redis
import structlog

from shared import routing
from shared.causes import PLATFORM_FAILS, PLATFORM_FAILS_NUMBER
from shared.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    TokenPausedError,
)
from shared.lanes.records import total_waiting
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.transitions import tell
from workers.context import WorkerContext

KEY_RETRY_S = 60.0
"""How long a gate stays closed for a refused key."""
CONNECTION_RETRY_S = 15.0
"""How long a gate stays closed for an unlinked phone."""
MIN_CLOSED_S = 0.1

log = structlog.get_logger()


def close_integration_gate(
    error: InvalidApiKeyError | NotConnectedError | TokenPausedError,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> None:
    """Close an integration's gate for an error that every message of it would run into."""
    match error:
        case InvalidApiKeyError():
            close_gate_for_refused_key(error, route, ctx)
        case NotConnectedError():
            _close(CONNECTION_RETRY_S, str(error), ctx, route)
        case TokenPausedError():
            _close(error.retry_after_s, str(error), ctx, route)


def close_limited_gate(error: LimitedError, route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Close an integration's gate for the Retry-After of a 429."""
    _close(error.retry_after_s, str(error), ctx, route)


def close_gate_for_refused_key(
    error: InvalidApiKeyError, route: IntegrationRoute, ctx: WorkerContext
) -> None:
    """Close an integration's gate until its key is repaired, and show the error on the integration.

    The gate is closed before the refusal is read. A repair clears the refusal before it opens the
    gate. So the gate of a good key ends up open, whichever of the two is faster.
    """
    is_news = _close(KEY_RETRY_S, str(error), ctx, route)
    if not ctx.tokens.is_refused(route.account):
        open_gate(route, ctx)
        return
    if is_news:
        tell("key.refused", account=route.account, reason=str(error), **route.named)
    try:
        ctx.database.integrations.report_error(route.id, str(error))
    except DatabaseError as database_error:
        log.warning(
            "integration.error_not_saved", integration_id=str(route.id), error=str(database_error)
        )


def open_account_gate(account: str, ctx: WorkerContext) -> None:
    """Open the gate of an account when its phone is linked again.

    During an outage of Supabase the gate may stay closed until it expires.
    """
    with suppress(DatabaseUnavailableError):
        if route := ctx.route_cache.find_account_route(account):
            open_gate(route, ctx)


def close_breaker_gate(route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Close the gate of what an open circuit breaker stops: the platform, or this integration."""
    state = ctx.breaker.state(route.account)
    if state.name != "open":
        return
    if state.scope == "platform":
        _close(state.retry_after_s, PLATFORM_FAILS, ctx)
        return
    _close(state.retry_after_s, PLATFORM_FAILS_NUMBER, ctx, route)


def close_platform_gate(ctx: WorkerContext) -> None:
    """Close the gate of all lanes that call the platform while its circuit breaker is open."""
    state = ctx.breaker.state()
    if state.name == "open":
        _close(state.retry_after_s, PLATFORM_FAILS, ctx)


def open_gate(route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Open the gate of an integration, and tell it if it was closed."""
    gate = routing.integration_gate(route.id)
    ctx.lanes.open_gate(gate)
    tell_opened(gate, ctx.redis, route.named)


def tell_opened(gate: str, client: "redis.Redis", about: Mapping[str, str]) -> None:
    """Tell that a gate is open, once, if it was told to be closed."""
    if client.hdel(keys.CLOSED_GATES, gate):
        waiting = _count_waiting(client, about.get("organization_id"))
        tell("gate.opened", gate=gate, waiting=waiting, **about)


def _close(
    seconds: float, reason: str, ctx: WorkerContext, route: IntegrationRoute | None = None
) -> bool:
    """Close the gate of an integration, or of the platform; return whether it was open before.

    A gate that closes again after its time was closed all along: only the first time is told.
    """
    gate = routing.integration_gate(route.id) if route else routing.PLATFORM_GATE
    ctx.lanes.close_gate(gate, max(MIN_CLOSED_S, seconds), reason)
    if not ctx.redis.hsetnx(keys.CLOSED_GATES, gate, int(time.time() * 1000)):
        return False
    about = route.named if route else {}
    waiting = _count_waiting(ctx.redis, about.get("organization_id"))
    tell("gate.closed", gate=gate, reason=reason, waiting=waiting, **about)
    return True


def _count_waiting(client: "redis.Redis", organization_id: str | None) -> int:
    """Return how many messages of an organization wait, or of all of them."""
    tenants = total_waiting(client, ["send"])["send"]
    return tenants.get(organization_id, 0) if organization_id else sum(tenants.values())

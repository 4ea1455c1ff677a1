"""Gates: hold the lanes of an integration or of the platform while no event in them can succeed.

The reasons lie outside the events: a refused key, an unlinked phone, a failing platform. Held lanes
keep their order and are not claimed. A gate has a reason and a TTL; when it expires, a single
event tries again.
"""

from contextlib import suppress

import structlog

from shared import routing
from shared.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    TokenPausedError,
)
from shared.route_cache import IntegrationRoute
from workers.context import WorkerContext

KEY_RETRY_S = 60.0
"""How long a gate stays closed for a refused key."""
CONNECTION_RETRY_S = 15.0
"""How long a gate stays closed for an unlinked phone."""
MIN_CLOSED_S = 0.1
PLATFORM_FAILS = "circuit breaker open: the platform fails or cannot be reached"

log = structlog.get_logger()


def close_integration_gate(
    error: InvalidApiKeyError | NotConnectedError | TokenPausedError,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> None:
    """Close an integration's gate for an error that every message of it would run into."""
    gate = routing.integration_gate(route.id)
    match error:
        case InvalidApiKeyError():
            close_gate_for_refused_key(error, route, ctx)
        case NotConnectedError():
            ctx.lanes.close_gate(gate, CONNECTION_RETRY_S, str(error))
        case TokenPausedError():
            ctx.lanes.close_gate(gate, max(MIN_CLOSED_S, error.retry_after_s), str(error))


def close_limited_gate(error: LimitedError, route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Close an integration's gate for the Retry-After of a 429."""
    gate = routing.integration_gate(route.id)
    ctx.lanes.close_gate(gate, max(MIN_CLOSED_S, error.retry_after_s), str(error))


def close_gate_for_refused_key(
    error: InvalidApiKeyError, route: IntegrationRoute, ctx: WorkerContext
) -> None:
    """Close an integration's gate until its key is repaired, and show the error on the integration.

    The gate is closed before the refusal is read. A repair clears the refusal before it opens the
    gate. So the gate of a good key ends up open, whichever of the two is faster.
    """
    gate = routing.integration_gate(route.id)
    ctx.lanes.close_gate(gate, KEY_RETRY_S, str(error))
    if not ctx.tokens.is_refused(route.account):
        ctx.lanes.open_gate(gate)
        return
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
            ctx.lanes.open_gate(routing.integration_gate(route.id))


def close_breaker_gate(route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Close the gate of what an open circuit breaker stops: the platform, or this integration."""
    state = ctx.breaker.state(route.account)
    if state.name != "open":
        return
    gate = routing.integration_gate(route.id)
    reason = "circuit breaker open: the platform fails for this number"
    if state.scope == "platform":
        gate = routing.PLATFORM_GATE
        reason = PLATFORM_FAILS
    ctx.lanes.close_gate(gate, max(MIN_CLOSED_S, state.retry_after_s), reason)


def close_platform_gate(ctx: WorkerContext) -> None:
    """Close the gate of all lanes that call the platform while its circuit breaker is open."""
    state = ctx.breaker.state()
    if state.name == "open":
        retry_after_s = max(MIN_CLOSED_S, state.retry_after_s)
        ctx.lanes.close_gate(routing.PLATFORM_GATE, retry_after_s, PLATFORM_FAILS)

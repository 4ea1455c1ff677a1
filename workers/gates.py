"""Holding lanes for what is no fault of their events: a refused key, a phone that is away, a platform in trouble.

Held lanes keep their order and cost nothing. Whoever holds them says why, and for how long at most.
"""

from contextlib import suppress

import structlog

from shared import routing
from shared.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    InvalidApiKeyError,
    NotConnectedError,
    TokenPausedError,
)
from shared.route_cache import IntegrationRoute
from workers.context import WorkerContext

REPAIR_S = 60.0
"""How long the lanes of an integration wait between two looks at a key that was refused."""
CONNECTION_S = 15.0
"""How long they wait between two looks at a phone that is not linked."""

log = structlog.get_logger()


def gate_of_integration(
    error: InvalidApiKeyError | NotConnectedError | TokenPausedError,
    route: IntegrationRoute,
    ctx: WorkerContext,
) -> None:
    """Hold an integration's lanes for what keeps all of its messages from going out."""
    match error:
        case InvalidApiKeyError():
            hold_for_key(error, route, ctx)
        case NotConnectedError():
            hold_for_connection(error, route, ctx)
        case TokenPausedError():
            hold_for_token(error, route, ctx)


def hold_for_key(error: InvalidApiKeyError, route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Hold an integration's lanes until its key is repaired, and show there what is wrong.

    Closed first, looked at afterwards: a repair forgets the refusal and then opens the gate, so that whichever of the
    two comes second, the gate of a good key ends up open.
    """
    gate = routing.integration_gate(route.id)
    ctx.lanes.close_gate(gate, REPAIR_S, str(error))
    if not ctx.tokens.is_refused(route.account):
        ctx.lanes.open_gate(gate)
        return
    try:
        ctx.database.integrations.report_error(route.id, str(error))
    except DatabaseError as unshown:  # the messages wait all the same
        log.warning("integration.error_not_shown", integration_id=str(route.id), error=str(unshown))


def hold_for_connection(
    error: NotConnectedError, route: IntegrationRoute, ctx: WorkerContext
) -> None:
    """Hold an integration's lanes while its phone is not linked: one of them asks again now and then."""
    ctx.lanes.close_gate(routing.integration_gate(route.id), CONNECTION_S, str(error))


def hold_for_token(error: TokenPausedError, route: IntegrationRoute, ctx: WorkerContext) -> None:
    """Hold an integration's lanes while nobody asks for its token: none was to be had, or none was taken."""
    ctx.lanes.close_gate(
        routing.integration_gate(route.id), max(0.1, error.retry_after_s), str(error)
    )


def release_account(account: str, ctx: WorkerContext) -> None:
    """Let the lanes of a number go on whose phone is linked again; what else held them will do so again."""
    with suppress(DatabaseUnavailableError):  # then they look by themselves
        if route := ctx.route_cache.find_account_route(account):
            ctx.lanes.open_gate(routing.integration_gate(route.id))


def while_open(ctx: WorkerContext) -> None:
    """While the breaker is open no lane is asked: their waiting costs nothing, and one probe finds out."""
    state = ctx.breaker.state()
    if state.name == "open":
        ctx.lanes.close_gate(
            routing.PLATFORM_GATE, max(0.1, state.retry_after_s), "the platform is in trouble"
        )

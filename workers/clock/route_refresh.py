"""Copies Supabase's integrations into Redis, for producers that have Redis alone."""

from threading import Event as Flag
from uuid import UUID

import redis
import structlog

from shared.database import Database, Integration
from shared.errors import DatabaseError
from shared.events import utc_now
from shared.number_states import NumberReport, NumberStates
from shared.route_cache import IntegrationRoute, RouteCache
from shared.shards import EVERYTHING, ShardPart

REFRESH_S = 60.0
"""How old Redis' copy of the integrations may be."""

log = structlog.get_logger()


def refresh_routes(
    routes: RouteCache,
    database: Database,
    stopping: Flag,
    numbers: NumberStates,
    part: ShardPart = EVERYTHING,
) -> None:
    """Copy all integrations every minute until told to stop.

    The states of those of a shard are reported to `numbers`. Each shard has the routes of all: the
    home finds the organization of an account among them.

    Pauses that were not told when they came are told then.
    """
    while True:
        try:
            integrations = copy_routes(routes, database)
            ours = [each for each in integrations if part.has(each.organization_id)]
            numbers.reconcile(map(_report_state, ours), utc_now())
            database.integrations.tell_pauses()
        except (DatabaseError, redis.RedisError) as error:
            log.warning("route_cache.refresh_failed", error=str(error))
        if stopping.wait(REFRESH_S):
            return


def _report_state(integration: Integration) -> NumberReport:
    return NumberReport(
        integration.account,
        integration.status,
        integration.status_at or integration.created_at or utc_now(),
        integration.status_reason,
        integration.last_error,
    )


def copy_routes(routes: RouteCache, database: Database) -> list[Integration]:
    """Copy all integrations into Redis, and delete those that Supabase no longer has.

    Returns the integrations with an account.

    An outage of Supabase, before the last page, deletes nothing.

    Raises:
        DatabaseError: Supabase did not answer.
        redis.RedisError: Redis did not answer.
    """
    resend = database.policies.resending_organizations()
    pacing = database.pacing.of_numbers()
    integrations = [each for each in database.integrations.iterate() if each.account]
    found = [
        IntegrationRoute.from_integration(
            each,
            resends_unknown=each.organization_id in resend,
            pacing=pacing.get(each.id),
        )
        for each in integrations
    ]
    routes.store_routes(found)

    def still_exists(integration_id: UUID) -> bool:
        integration = database.integrations.get(integration_id)
        return bool(integration and integration.account)

    for integration_id in routes.prune_routes([route.id for route in found], still_exists):
        log.info("route_cache.route_deleted", integration_id=str(integration_id))
    return integrations

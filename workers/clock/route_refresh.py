"""Copies Supabase's integrations into Redis, for producers that have Redis alone."""

from threading import Event as Flag
from uuid import UUID

import redis
import structlog

from shared.database import Database
from shared.errors import DatabaseError
from shared.route_cache import IntegrationRoute, RouteCache

REFRESH_S = 60.0
"""How old Redis' copy of the integrations may be."""

log = structlog.get_logger()


def refresh_routes(routes: RouteCache, database: Database, stopping: Flag) -> None:
    """Copy all integrations every minute until told to stop."""
    while True:
        try:
            copy_routes(routes, database)
        except (DatabaseError, redis.RedisError) as error:
            log.warning("route_cache.refresh_failed", error=str(error))
        if stopping.wait(REFRESH_S):
            return


def copy_routes(routes: RouteCache, database: Database) -> None:
    """Copy all integrations into Redis, and delete those that Supabase no longer has.

    An outage of Supabase, before the last page, deletes nothing.

    Raises:
        DatabaseError: Supabase did not answer.
        redis.RedisError: Redis did not answer.
    """
    resend = database.policies.resending_organizations()
    found = [
        IntegrationRoute.from_integration(each, resends_unknown=each.organization_id in resend)
        for each in database.integrations.iterate()
        if each.account
    ]
    routes.store_routes(found)

    def still_exists(integration_id: UUID) -> bool:
        integration = database.integrations.get(integration_id)
        return bool(integration and integration.account)

    for integration_id in routes.prune_routes([route.id for route in found], still_exists):
        log.info("route_cache.route_deleted", integration_id=str(integration_id))

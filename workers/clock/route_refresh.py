"""Copies Supabase's integrations into Redis, for producers that have Redis alone."""

from threading import Event as Flag

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
            resend = database.policies.resending_organizations()
            routes.store_routes(
                IntegrationRoute.from_integration(
                    each, resends_unknown=each.organization_id in resend
                )
                for each in database.integrations.iterate()
                if each.account
            )
        except (DatabaseError, redis.RedisError) as error:
            log.warning("route_cache.refresh_failed", error=str(error))
        if stopping.wait(REFRESH_S):
            return

"""The clock: wakes lanes that are due, takes over events whose worker is gone, repeats wake-ups that were lost.

Any number may run; one is enough: `python -m workers.clock`.
"""

from threading import Event as Flag

import redis
import structlog
from pydantic import ValidationError

from shared import logs
from shared.database import Database
from shared.errors import DatabaseError
from shared.events import QUEUE_NAMES, QueueName, SendEvent
from shared.lanes.client import Claim, ClaimResult, Lanes, Postponed
from shared.lanes.wakeups import wake
from shared.redis import CONNECTION_ERRORS, connect_durable, is_transient
from shared.route_cache import IntegrationRoute, RouteCache
from shared.settings import RedisSettings, RetentionSettings, load_settings
from workers.clock import health_checks, retention
from workers.context import worker_context
from workers.dead_letters import dead_letter_raw
from workers.process import SupervisedThreads, exit_on_startup_error, on_stop_signal
from workers.send.in_doubt import settle_as_unknown

TICK_S = 1.0
"""The longest pause between two sweeps; shorter when a lane falls due earlier."""

FEWEST_S = 0.05

DIRECTORY_S = 60.0
"""How old Redis' copy of the integrations may be."""

VANISHED = "its worker stopped while the platform was being asked"

log = structlog.get_logger()


class Sweeper:
    def __init__(self, client: "redis.Redis", lanes: Lanes, routes: RouteCache) -> None:
        self._client = client
        self._lanes = lanes
        self._routes = routes

    def tick(self) -> float:
        """Sweep every kind once; return seconds until the next sweep is worth it.

        A Redis that cannot do it now is asked again at the next tick, any other error of Redis is raised.
        """
        pause = TICK_S
        for kind in QUEUE_NAMES:
            try:
                pause = min(pause, self._sweep(kind))
            except redis.RedisError as error:
                if not is_transient(error):
                    raise
                log.warning("redis.away", kind=kind, error=str(error))
                if isinstance(error, CONNECTION_ERRORS):
                    break  # the others would wait as long
        return max(FEWEST_S, pause)

    def run(self, stopping: Flag) -> None:
        """Tick until told to stop."""
        pause = 0.0
        while not stopping.wait(pause):
            pause = self.tick()

    def _sweep(self, kind: QueueName) -> float:
        swept = self._lanes.sweep(kind)
        for claim in swept.given_up:
            self._take_over(claim)
        if swept.ready or swept.given_up:
            wanted = swept.ready + len(swept.given_up)
            wake(self._client, kind, wanted, at_most=wanted)
        return TICK_S if swept.next_due_ms is None else min(TICK_S, swept.next_due_ms / 1000)

    def _take_over(self, claim: Claim) -> None:
        """Say what becomes of a claim that was given up; what is wrong with one costs no other."""
        about = {"event_id": str(claim.id), "lane": claim.lane, "attempt": claim.attempts}
        log.warning("claim.given_up", **about)
        try:
            self._lanes.conclude(claim, self._verdict(claim))
        except redis.RedisError:
            raise
        except Exception:
            log.exception("claim.not_taken_over", **about)  # the next clock to come by tries again

    def _verdict(self, claim: Claim) -> ClaimResult:
        """A send whose worker vanished may have gone out: nobody can know. Everything else may be done again."""
        if claim.kind != "send":
            return Postponed(0, "its worker stopped")
        try:
            event = SendEvent.model_validate_json(claim.body)
        except ValidationError:  # its worker was of another version
            return dead_letter_raw(claim, "unreadable", VANISHED, "unknown")
        return settle_as_unknown(
            event, claim, VANISHED, self._routes.find_route(event.integration_id)
        )


def refresh_routes(routes: RouteCache, database: Database, stopping: Flag) -> None:
    """Copy Supabase's integrations into Redis every minute, for whoever has only Redis."""
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
        if stopping.wait(DIRECTORY_S):
            return


def main() -> int:
    """Run until told to stop; return the exit code."""
    threads = SupervisedThreads()
    on_stop_signal(threads.stopping.set)
    with exit_on_startup_error():
        logs.configure_logging("clock")
        client = connect_durable(load_settings(RedisSettings))
        ctx, kept_for = worker_context(), load_settings(RetentionSettings)
    routes = RouteCache(
        client, database=None
    )  # a policy that Redis does not know is the cautious one
    threads.start(health_checks.run_health_checks, threads.stopping)
    threads.start(retention.run_retention, ctx.database, kept_for, threads.stopping)
    threads.start(refresh_routes, routes, ctx.database, threads.stopping)
    threads.run(Sweeper(client, Lanes(client, ctx.engine), routes).run, threads.stopping)
    code = threads.join()
    ctx.tokens.flush()
    return code


if __name__ == "__main__":
    raise SystemExit(main())

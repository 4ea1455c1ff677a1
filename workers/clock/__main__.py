"""The clock: sweeps and repairs the lanes, checks integrations, prunes rows, refreshes routes.

It also settles messages of unknown delivery that the platform's reports prove, and looks for gaps
after outages.

Any number of clocks may run, a single clock suffices: `python -m workers.clock`.
"""

from shared import logs, processes
from shared.lanes.client import Lanes
from shared.lanes.repair import run_repairs
from shared.number_states import NumberStates
from shared.redis import connect_durable
from shared.route_cache import RouteCache
from shared.settings import RedisSettings, RetentionSettings, load_settings
from workers.clock import gaps, health_checks, retention, settling
from workers.clock.gate_watch import GateWatch
from workers.clock.gauges import measure_gauges
from workers.clock.route_refresh import refresh_routes
from workers.clock.sweeper import event_sweeper
from workers.context import worker_context
from workers.process import SupervisedThreads, exit_on_startup_error, on_stop_signal
from workers.pulse import Pulse


def main() -> int:
    """Run until the process stops; return the exit code."""
    threads = SupervisedThreads()
    on_stop_signal(threads.stopping.set)
    with exit_on_startup_error():
        logs.configure_logging("clock")
        client = connect_durable(load_settings(RedisSettings))
        ctx = worker_context()
        retention_settings = load_settings(RetentionSettings)
    # Without a database: for a route that Redis lacks, the policy for unknown deliveries is `hold`.
    routes = RouteCache(client, database=None)
    threads.start(health_checks.run_health_checks, threads.stopping)
    threads.start(retention.run_retention, ctx.database, retention_settings, threads.stopping)
    threads.start(gaps.run_gap_checks, ctx, threads.stopping)
    threads.start(settling.run_settling, ctx, threads.stopping)
    threads.start(run_repairs, Lanes(client, ctx.engine), threads.stopping)
    numbers = NumberStates(client, routes.name_account)
    threads.start(refresh_routes, routes, ctx.database, threads.stopping, numbers)
    threads.start(GateWatch(client, routes).run, threads.stopping)
    threads.start(measure_gauges, client, ctx, threads.stopping)
    sweeper = event_sweeper(Lanes(client, ctx.engine), routes)
    with Pulse(client, [processes.CLOCK], progress=lambda: sweeper.ticks):
        threads.run(sweeper.run, threads.stopping)
    code = threads.join()
    ctx.tokens.flush()
    return code


if __name__ == "__main__":
    raise SystemExit(main())

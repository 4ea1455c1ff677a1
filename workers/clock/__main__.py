"""The clock: sweeps and repairs the lanes, checks integrations, prunes rows, refreshes routes.

It also settles messages of unknown delivery that the platform's reports prove, and looks for gaps
after outages.

Any number of clocks may run, a single clock suffices: `python -m workers.clock`.
"""

import redis

from shared import logs, processes
from shared.lanes.client import Lanes
from shared.lanes.repair import run_repairs
from shared.lanes.sweeper import Sweeper
from shared.number_states import NumberStates
from shared.redis import connect_durable
from shared.route_cache import RouteCache
from shared.settings import RedisSettings, RetentionSettings, load_settings
from shared.shards import ShardPart
from shared.traces import start_traces
from workers.callback.dispatch import Dispatcher
from workers.clock import gaps, health_checks, retention, settling
from workers.clock.gate_watch import GateWatch
from workers.clock.gauges import Ages, measure_gauges
from workers.clock.minutes import run_minutes
from workers.clock.route_refresh import refresh_routes
from workers.clock.sweeper import event_sweeper
from workers.context import WorkerContext, worker_context
from workers.process import SupervisedThreads, exit_on_startup_error, on_stop_signal
from workers.pulse import Pulse


def start_clock(
    threads: SupervisedThreads, client: redis.Redis, ctx: WorkerContext, kept: RetentionSettings
) -> Sweeper:
    """Start all threads of a clock; return the sweeper, which is among them."""
    # Without a database: for a route that Redis lacks, the policy for unknown deliveries is `hold`.
    routes = RouteCache(client, database=None)
    part = ShardPart.of(load_settings(RedisSettings))
    check_pause_s, gap_pause_s = health_checks.ROUND_PAUSE_S, gaps.INTERVAL_S
    threads.start(health_checks.run_health_checks, threads.stopping, check_pause_s, part)
    threads.start(retention.run_retention, ctx.database, kept, threads.stopping)
    threads.start(gaps.run_gap_checks, ctx, threads.stopping, gap_pause_s, part)
    threads.start(settling.run_settling, ctx, threads.stopping)
    threads.start(run_repairs, Lanes(client, ctx.engine), threads.stopping)
    numbers = NumberStates(client, routes.name_account)
    threads.start(refresh_routes, routes, ctx.database, threads.stopping, numbers, part)
    dispatcher = Dispatcher(client, Lanes(client, ctx.engine), ctx.database, part)
    threads.start(dispatcher.run, threads.stopping)
    threads.start(GateWatch(client, routes).run, threads.stopping)
    ages: Ages = {}
    threads.start(measure_gauges, client, ctx, ages, threads.stopping)
    threads.start(run_minutes, client, ages, threads.stopping)
    sweeper = event_sweeper(Lanes(client, ctx.engine), routes)
    threads.start(sweeper.run, threads.stopping)
    return sweeper


def main() -> int:
    """Run until the process stops; return the exit code."""
    threads = SupervisedThreads()
    on_stop_signal(threads.stopping.set)
    with exit_on_startup_error():
        logs.configure_logging("clock")
        start_traces("clock")
        client = connect_durable(load_settings(RedisSettings))
        ctx = worker_context()
        kept = load_settings(RetentionSettings)
    sweeper = start_clock(threads, client, ctx, kept)
    with Pulse(client, [processes.CLOCK], progress=lambda: sweeper.ticks):
        threads.stopping.wait()
    code = threads.join()
    ctx.tokens.flush()
    return code


if __name__ == "__main__":
    raise SystemExit(main())

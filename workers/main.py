"""Entry point of all Dramatiq workers: `dramatiq workers.main --queues send` and so on."""

from shared import logs
from shared.redis import connect_durable
from shared.settings import RedisSettings, load_settings
from shared.traces import start_traces
from workers.actors import build_contexts
from workers.broker import ReportPulse, broker, trace_events
from workers.process import exit_on_startup_error

__all__ = ["broker"]

with exit_on_startup_error():
    logs.configure_logging("worker")
    start_traces("worker")
    connect_durable(load_settings(RedisSettings)).close()
    build_contexts()

broker.add_middleware(ReportPulse())
trace_events()

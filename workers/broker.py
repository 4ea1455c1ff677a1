"""The broker of the worker processes. Building it opens no connection."""

import threading
from collections.abc import Callable
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import CurrentMessage, Middleware, TimeLimit

from shared.errors import ConfigurationError
from shared.lanes.broker import LaneBroker
from shared.lanes.message import LaneMessage
from shared.lanes.watchdog import Watchdog
from shared.redis import connect
from shared.settings import EngineSettings, RedisSettings, load_settings
from shared.tokens import TokenCache
from shared.traces import Traces, find_traces
from workers.process import collect_rarely, exit_on_startup_error
from workers.pulse import Pulse
from workers.traced import HandledEvent

log = structlog.get_logger()

TIME_LIMIT_MS = 300_000
"""An actor that has not ended by then is stuck."""
TIME_LIMIT_CHECK_MS = 10_000
"""How much later it may be stopped."""


class ReportPulse(Middleware):
    """Reports each worker process: its queues, its threads, and whether it gets answers."""

    def __init__(self) -> None:
        self._pulse: Pulse | None = None

    def after_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        collect_rarely()
        if isinstance(broker, LaneBroker):
            queues = worker.consumer_whitelist or broker.queues
            with exit_on_startup_error():
                require_threads(worker.worker_threads, min(queues))
            self._pulse = Pulse(
                broker.client,
                sorted(queues),
                threads=worker.worker_threads,
                progress=lambda: broker.replies,
            )
            self._pulse.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        if self._pulse:
            self._pulse.stop()


def require_threads(count: int, queue: str) -> None:
    """Raise ConfigurationError for a process that would run and handle nothing."""
    if count < 1:
        variable = f"{queue.upper()}_THREADS"
        msg = f"cannot start: {variable}: {count} threads handle nothing, give 1 or more"
        raise ConfigurationError(msg)


class SaveTokens(Middleware):
    """Lets a process that stops save its newest token: the next process begins with it."""

    def __init__(self, tokens: Callable[[], TokenCache]) -> None:
        self._tokens = tokens

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        if not self._tokens().flush():
            log.warning("token.not_saved_in_time")


class TraceEvents(Middleware):
    """Makes spans of the events that this process handles."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._open = threading.local()

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:  # noqa: ARG002
        if isinstance(message, LaneMessage) and message.args:
            self._open.event = HandledEvent(self._traces, message.args[0], message.claim)

    def after_process_message(
        self,
        broker: dramatiq.Broker,  # noqa: ARG002
        message: Any,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,  # noqa: ARG002
    ) -> None:
        event: HandledEvent | None = self._open.__dict__.pop("event", None)
        if event:
            event.end(message)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        self._traces.flush()


def trace_events() -> None:
    """Have the events of this process traced, where traces are on."""
    if traces := find_traces():
        broker.add_middleware(TraceEvents(traces))


with exit_on_startup_error():
    broker = LaneBroker(
        connect(load_settings(RedisSettings).redis_url),
        settings=load_settings(EngineSettings),
        middleware=[
            TimeLimit(time_limit=TIME_LIMIT_MS, interval=TIME_LIMIT_CHECK_MS),
            CurrentMessage(),
        ],
    )
broker.add_middleware(Watchdog(lambda: broker.replies))
dramatiq.set_broker(broker)

"""The broker of the worker processes. Building it opens no connection."""

from collections.abc import Callable
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import CurrentMessage, Middleware, TimeLimit

from shared.lanes.broker import LaneBroker
from shared.lanes.watchdog import Watchdog
from shared.redis import connect
from shared.settings import EngineSettings, RedisSettings, load_settings
from shared.tokens import TokenCache
from workers.process import exit_on_startup_error
from workers.pulse import Pulse

log = structlog.get_logger()

TIME_LIMIT_MS = 300_000
"""An actor that has not ended by then is stuck."""


class ReportPulse(Middleware):
    """Reports each worker process: its queues, its threads, and whether it gets answers."""

    def __init__(self) -> None:
        self._pulse: Pulse | None = None

    def after_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        if isinstance(broker, LaneBroker):
            queues = worker.consumer_whitelist or broker.queues
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


class SaveTokens(Middleware):
    """Lets a process that stops save its newest token: the next process begins with it."""

    def __init__(self, tokens: Callable[[], TokenCache]) -> None:
        self._tokens = tokens

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        if not self._tokens().flush():
            log.warning("token.not_saved_in_time")


with exit_on_startup_error():
    broker = LaneBroker(
        connect(load_settings(RedisSettings).redis_url),
        settings=load_settings(EngineSettings),
        middleware=[TimeLimit(time_limit=TIME_LIMIT_MS), CurrentMessage()],
    )
broker.add_middleware(ReportPulse())
broker.add_middleware(Watchdog(lambda: broker.replies))
dramatiq.set_broker(broker)

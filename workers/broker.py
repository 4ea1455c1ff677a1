"""The broker of the worker processes. Building it opens no connection."""

from collections.abc import Callable
from threading import Event as Flag
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import Middleware, Retries, TimeLimit

from shared.broker import DurableRedisBroker
from shared.broker.watchdog import Watchdog
from shared.lanes.client import Lanes
from shared.redis import connect
from shared.settings import RedisSettings, load_settings
from shared.tokens import TokenCache

log = structlog.get_logger()

STOP_MS = 300_000
"""A drain that has not ended by then is stuck."""

stopping = Flag()
"""Set when this process is told to stop: a drain ends after the event in hand."""


class StopDrains(Middleware):
    """Tells drains that the process shuts down; Dramatiq waits for them."""

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        stopping.set()


class FairShare(Middleware):
    """Keeps half of a process' threads for others, however much one tenant brings: each kind has but a few threads."""

    def __init__(self, lanes: Callable[[], Lanes]) -> None:
        self._lanes = lanes

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        lanes = self._lanes()
        lanes.room = min(lanes.room, max(1, worker.worker_threads // 2))


class SaveTokens(Middleware):
    """Lets a process that stops save the token that it has got last: the next one begins with what is saved."""

    def __init__(self, tokens: Callable[[], TokenCache]) -> None:
        self._tokens = tokens

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:  # noqa: ARG002
        if not self._tokens().flush():
            log.warning("token.not_saved_in_time")


broker = DurableRedisBroker(
    client=connect(load_settings(RedisSettings).redis_url),
    middleware=[
        TimeLimit(time_limit=STOP_MS),
        Retries(max_retries=3),
        StopDrains(),
    ],
)
broker.add_middleware(Watchdog(lambda: broker.replies))
dramatiq.set_broker(broker)

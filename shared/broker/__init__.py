"""Dramatiq's Redis broker, hardened: what was enqueued runs, whatever is killed, restarted or cut off."""

from shared.broker.redis_broker import (
    HEARTBEAT_TIMEOUT_MS,
    TICK_INTERVAL_MS,
    DurableRedisBroker,
    enqueue_on,
    load_scripts,
    wake_up,
)

__all__ = [
    "HEARTBEAT_TIMEOUT_MS",
    "TICK_INTERVAL_MS",
    "DurableRedisBroker",
    "enqueue_on",
    "load_scripts",
    "wake_up",
]

"""A worker for tests to kill: `dramatiq tests.shared.broker.worker_program`, set up by TEST_* variables."""

import os
import time

import dramatiq

from shared.broker import HEARTBEAT_TIMEOUT_MS, TICK_INTERVAL_MS, DurableRedisBroker
from shared.broker.watchdog import Watchdog
from shared.redis.client import connect

broker = DurableRedisBroker(
    client=connect(os.environ["TEST_REDIS_URL"]),
    heartbeat_timeout=int(os.environ.get("TEST_HEARTBEAT_TIMEOUT", HEARTBEAT_TIMEOUT_MS)),
    tick_interval=int(os.environ.get("TEST_TICK_INTERVAL", TICK_INTERVAL_MS)),
)
broker.add_middleware(
    Watchdog(lambda: broker.replies, limit_s=float(os.environ.get("TEST_WATCHDOG", "60")))
)
dramatiq.set_broker(broker)


def write(line: str) -> None:
    """Append one line, whole even when several processes write."""
    with open(os.environ["TEST_JOURNAL"], "ab", buffering=0) as journal:  # noqa: PTH123 - one write(2) each
        journal.write(f"{line}\n".encode())


@dramatiq.actor
def note(number: int, seconds: float = 0) -> None:
    """Write that it began; take `seconds`; write that it is done."""
    write(f"began {number}")
    time.sleep(seconds)
    write(f"done {number}")

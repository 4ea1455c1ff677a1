"""A plain Dramatiq app on lanes, without WhatsApp: `dramatiq tests.shared.lanes.plain_app`."""

import os
import signal
import time

import dramatiq

from shared.lanes.broker import LaneBroker
from shared.lanes.watchdog import Watchdog
from shared.redis import connect
from shared.settings import EngineSettings

broker = LaneBroker(
    connect(os.environ["TEST_REDIS_URL"]),
    settings=EngineSettings(
        wpp_http_deadline_s=1, wpp_lease_s=float(os.environ.get("TEST_LEASE", "6"))
    ),
)
broker.add_middleware(
    Watchdog(lambda: broker.replies, limit_s=float(os.environ.get("TEST_WATCHDOG", "60")))
)
dramatiq.set_broker(broker)


@dramatiq.actor
def note(name: str, seconds: float = 0) -> None:
    """Write that it began; take `seconds`; write that it is done."""
    write(f"began {name}")
    time.sleep(seconds)
    write(f"done {name}")


@dramatiq.actor
def die(name: str) -> None:
    """Write that it began; end the process, as the kernel does when memory runs out."""
    write(f"began {name}")
    os.kill(os.getpid(), signal.SIGKILL)


def write(line: str) -> None:
    """Append a line, whole even when several processes write."""
    with open(os.environ["TEST_JOURNAL"], "ab", buffering=0) as journal:  # noqa: PTH123
        journal.write(f"{line}\n".encode())

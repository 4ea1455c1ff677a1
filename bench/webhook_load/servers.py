"""The measured servers: the ingress and the baseline, each with a durable Redis of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from bench.engine_sides.place import MADE_UP, Place
from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import responds_ok
from shared import signed_keys

ACCOUNT = "0000000000042"
READY_S = 60.0
UVICORN = "uvicorn --no-access-log --log-level warning"


@dataclass(frozen=True)
class LoadResult:
    """Events per second, CPU µs per event, and p50 and p99 of the answers in ms by event size."""

    rate: float
    cpu_us: float
    failed: int
    small: tuple[float, float]
    large: tuple[float, float]


class EventServer:
    """A server process that accepts events; `path` is where they are posted."""

    def __init__(self, place: Place, command: str, path: str) -> None:
        self.place = place
        port = free_port()
        self.url = f"http://{LOCALHOST}:{port}{path}"
        process = place.start(f"{command} --port {port}", REDIS_URL=place.server.url)
        process.wait_until(
            lambda: responds_ok(f"http://{LOCALHOST}:{port}/health"), within_s=READY_S
        )

    def load(self, events: int, *, large_every: int = 0, rate: float | None = None) -> LoadResult:
        """Post `events` over 64 connections, with an empty Redis."""
        self.place.redis.flushall()
        command = [
            sys.executable,
            "-m",
            "bench.webhook_load.load",
            self.url,
            "--events",
            str(events),
        ]
        command += ["--large-every", str(large_every), *(["--rate", str(rate)] if rate else [])]
        before = self.place.cpu_s()[0]
        done = subprocess.run(command, check=True, capture_output=True, timeout=300)
        cpu_us = (self.place.cpu_s()[0] - before) / events * 1e6
        found: dict[str, Any] = json.loads(done.stdout)
        none = (0.0, 0.0)
        small, large = tuple(found["small"]) or none, tuple(found["large"]) or none
        return LoadResult(found["rate"], cpu_us, found["failed"], small, large)


def start_ingress(place: Place) -> EventServer:
    key = signed_keys.make_webhook_key(ACCOUNT, [MADE_UP["WPP_KEY_SECRETS"].encode()])
    return EventServer(place, "python -m workers.ingress", f"/webhooks/wpp/{ACCOUNT}/{key}")


def start_baseline(place: Place) -> EventServer:
    return EventServer(
        place, f"{UVICORN} bench.webhook_load.baseline:app", f"/webhooks/wpp/{ACCOUNT}"
    )

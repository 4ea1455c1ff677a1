"""Two doors on a durable Redis each: ours, and the one that one would write first."""

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
class Answered:
    """How a door did: events a second, its CPU µs an event, p50 and p99 of its answers in ms, by the events' size."""

    rate: float
    cpu_us: float
    failed: int
    small: tuple[float, float]
    large: tuple[float, float]


class Door:
    """A program that takes events; `path` is where they are posted."""

    def __init__(self, place: Place, command: str, path: str) -> None:
        self.place = place
        port = free_port()
        self.url = f"http://{LOCALHOST}:{port}{path}"
        process = place.start(f"{command} --port {port}", REDIS_URL=place.server.url)
        process.wait_until(
            lambda: responds_ok(f"http://{LOCALHOST}:{port}/health"), within_s=READY_S
        )

    def load(self, events: int, *, large_every: int = 0, rate: float | None = None) -> Answered:
        """Post so many events over 64 connections, onto an empty Redis."""
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
        return Answered(found["rate"], cpu_us, found["failed"], small, large)


def ours(place: Place) -> Door:
    key = signed_keys.make_webhook_key(ACCOUNT, [MADE_UP["WPP_KEY_SECRETS"].encode()])
    return Door(place, "python -m workers.ingress", f"/webhooks/wpp/{ACCOUNT}/{key}")


def naive(place: Place) -> Door:
    return Door(place, f"{UVICORN} bench.webhook_load.naive:app", f"/webhooks/wpp/{ACCOUNT}")

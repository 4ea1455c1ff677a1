"""Measure how long a gate over 100,000 lanes blocks Redis: `python -m bench.gates [--no-fail]`.

Lanes are parked by claims, released by opening the gate, parked again, and released by the end of
the gate's time. A script blocks Redis for its CPU time; by the clock it takes longer on a machine
with more work than cores. Exits with 1 when a script takes more CPU time than the target.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.engine_sides.figures import percentile
from bench.engine_sides.place import Place
from bench.kept import figure_file
from bench.kept.figure_file import KeptFigure
from shared.lanes.client import Lanes
from shared.lanes.scripts import APPEND
from shared.lanes.types import Append, ClaimSequence
from shared.redis import keys
from shared.settings import EngineSettings

LANES = 100_000
TARGET_MS = 10.0
GATE = "g"
BATCH = 1000
HOUR_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 in any case")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with Place() as place:
        longest = measure(place.redis)
    print(f"load after: {os.getloadavg()[0]:.1f}; target: {TARGET_MS:.0f} ms a script")
    if arguments.json:
        figure_file.write(
            arguments.json,
            [
                KeptFigure(f"gate: {part}, longest", "ms CPU", {"ours": ms}, missed=ms > TARGET_MS)
                for part, ms in longest.items()
            ],
        )
    if max(longest.values()) > TARGET_MS and not arguments.no_fail:
        sys.exit(1)


def measure(client: Any) -> dict[str, float]:
    """Print a line for each part; return the milliseconds of the longest script of each."""
    lanes = Lanes(client, EngineSettings())
    fill(lanes)
    client.config_set("slowlog-log-slower-than", 100)
    client.config_set("slowlog-max-len", 100_000)
    client.config_set("auto-aof-rewrite-percentage", 0)  # its fork is no part of a script
    parts: dict[str, Callable[[], object]] = {
        "park": lambda: park(lanes),
        "open": lambda: lanes.open_gate(GATE),
        "park again": lambda: park(lanes),
        "end of time": lambda: end_gate(lanes),
    }
    meter = Meter(client)
    return {name: measure_part(client, meter, name, run) for name, run in parts.items()}


class Meter:
    """Reads the CPU time of Redis for each script that a client calls, with that of the reading."""

    def __init__(self, client: Any) -> None:
        self.cpu_ms: list[float] = []
        self._client = client
        self._call = client.evalsha
        client.evalsha = self._measured

    def _measured(self, *arguments: Any) -> Any:
        before = self._used_ms()
        reply = self._call(*arguments)
        self.cpu_ms.append(self._used_ms() - before)
        return reply

    def _used_ms(self) -> float:
        used = self._client.info("cpu")
        return float(1000 * (used["used_cpu_user"] + used["used_cpu_sys"]))


def measure_part(client: Any, meter: Meter, name: str, run: Callable[[], object]) -> float:
    client.slowlog_reset()
    meter.cpu_ms.clear()
    run()
    slow = client.slowlog_get(100_000)
    wall = [each["duration"] / 1000 for each in slow if each["command"].startswith(b"EVALSHA")]
    usual, late, worst = (percentile(meter.cpu_ms, share) for share in (0.5, 0.99, 1.0))
    print(
        f"{name:12} {len(meter.cpu_ms):5} scripts: CPU p50 {usual:5.2f} ms, p99 {late:5.2f} ms, "
        f"most {worst:5.2f} ms; longest {max(wall, default=0.0):6.2f} ms by the clock",
        flush=True,
    )
    return worst


def fill(lanes: Lanes) -> None:
    for start in range(0, LANES, BATCH):
        items = [
            Append(uuid4(), "send", f"lane{number}", "one", "{}", gates=(GATE,))
            for number in range(start, start + BATCH)
        ]
        APPEND.run(lanes.client, [keys.PREFIX], lanes.append_arguments(items))


def park(lanes: Lanes) -> None:
    lanes.close_gate(GATE, HOUR_S, "closed")
    lanes.claim("send", ClaimSequence())


def end_gate(lanes: Lanes) -> None:
    """Let the time of the gate be over for all of its lanes at once."""
    client: Any = lanes.client
    client.delete(keys.gate(GATE))
    names = client.zrange(keys.delayed("send"), 0, -1)
    for start in range(0, len(names), BATCH):
        client.zadd(keys.delayed("send"), dict.fromkeys(names[start : start + BATCH], 1))
    client.slowlog_reset()
    while lanes.sweep("send").next_due_ms is not None:
        pass


if __name__ == "__main__":
    main()

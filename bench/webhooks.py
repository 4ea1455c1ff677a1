"""Measure webhooks beside a baseline: `python -m bench.webhooks [--no-fail] [--only PART …]`.

`ingress`: accepted events per second and answer times, beside FastAPI's plain `def` route with
`actor.send` on the stock broker. Each has one process and a durable Redis; they run in turns.
`writes`: events written to Supabase in batches through one SQL function, beside the same rows
written singly by the same client. Exits with 1 when a target is missed.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.engine_sides.figures import Figure, table
from bench.engine_sides.place import Place
from bench.kept import figure_file
from bench.webhook_load.servers import (
    EventServer,
    LoadResult,
    start_baseline,
    start_ingress,
)
from bench.webhook_load.writes import measure_rate, open_writer

ROUNDS = 3
WARM_UP_EVENTS = 1_000
SMALL_EVENTS = 12_000
MIXED_EVENTS = 1_500
LARGE_EVERY = 100
HALF_RATE_S = 8
BATCHED_EVENTS = 4_000
SINGLE_EVENTS = 400
MIN_TIMES_BASELINE = 3
MIN_TIMES_SINGLE = 15
MAX_P99_MS = 50


def measure_ingress() -> list[Figure]:
    """Measure the ingress and the baseline with small events, and with 1 % of large events."""
    with Place() as first, Place() as second:
        ingress = start_ingress(first)
        baseline = start_baseline(second)
        for server in (ingress, baseline):
            server.load(WARM_UP_EVENTS)
        return [
            *_measure_load(ingress, baseline, SMALL_EVENTS, 0, "small events"),
            *_measure_load(ingress, baseline, MIXED_EVENTS, LARGE_EVERY, "1 % of 5 MB"),
        ]


def _measure_load(
    ingress: EventServer, baseline: EventServer, events: int, large_every: int, what: str
) -> list[Figure]:
    """Load both servers in turns at full rate, then each at half of its own rate."""
    rounds = [
        tuple(server.load(events, large_every=large_every) for server in (ingress, baseline))
        for _ in range(ROUNDS)
    ]
    assert not any(result.failed for results in rounds for result in results)

    def medians(read: Callable[[LoadResult], float]) -> tuple[float, float]:
        ours, theirs = (statistics.median(map(read, side)) for side in zip(*rounds, strict=True))
        return ours, theirs

    rates = medians(lambda result: result.rate)
    half = [
        server.load(
            min(events, int(rate / 2 * HALF_RATE_S)), large_every=large_every, rate=rate / 2
        )
        for server, rate in zip((ingress, baseline), rates, strict=True)
    ]
    target = None if large_every else MIN_TIMES_BASELINE * rates[1]
    at_half = f"{what}: answer at half the rate"
    figures = [
        Figure(f"{what}: accepted", "events/s", *rates, target, more=True),
        Figure(f"{what}: CPU", "µs/event", *medians(lambda result: result.cpu_us)),
        Figure(f"{what}: answer, p50", "ms", *medians(lambda result: result.small[0])),
        Figure(f"{what}: answer, p99", "ms", *medians(lambda result: result.small[1])),
        Figure(f"{at_half}, p50", "ms", half[0].small[0], half[1].small[0]),
        Figure(f"{at_half}, p99", "ms", half[0].small[1], half[1].small[1], MAX_P99_MS),
    ]
    if large_every:
        figure = Figure(f"{at_half}, of a file, p50", "ms", half[0].large[0], half[1].large[0])
        figures.append(figure)
    return figures


def measure_writes() -> list[Figure]:
    """Measure writes in batches and single writes."""
    with open_writer() as writer:
        measure_rate(writer.write_batches, BATCHED_EVENTS // 10)
        measure_rate(writer.write_singly, SINGLE_EVENTS // 10)
        rounds = [
            (
                measure_rate(writer.write_batches, BATCHED_EVENTS),
                measure_rate(writer.write_singly, SINGLE_EVENTS),
            )
            for _ in range(ROUNDS)
        ]
    batched, single = (statistics.median(side) for side in zip(*rounds, strict=True))
    target = MIN_TIMES_SINGLE * single
    return [Figure("written to Supabase", "events/s", batched, single, target, more=True)]


PARTS: dict[str, Callable[[], list[Figure]]] = {
    "ingress": measure_ingress,
    "writes": measure_writes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 in any case")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    began = time.monotonic()
    figures: list[Figure] = []
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    for name in given.only or PARTS:
        figures += PARTS[name]()
    print(table(figures).replace("stock", "baseline", 1))
    print(f"load after: {os.getloadavg()[0]:.1f}; took {time.monotonic() - began:.0f} s")
    if given.json:
        figure_file.write(given.json, figures)
    if not given.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

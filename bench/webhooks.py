"""Events that arrive, beside what one would write first: `python -m bench.webhooks [--no-fail] [--only PART …]`.

`door`: a route that keeps an event before it answers, beside FastAPI's plain `def` route with `actor.send` on the stock
broker; on a durable Redis each, one process each, in turns within this one run. `writes`: events written to Supabase in
batches through one SQL function, beside the same rows written one by one by the same client. Exits with 1 when a
target was missed.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

from bench.engine_sides.figures import Figure, table
from bench.engine_sides.place import Place
from bench.webhook_load.doors import Answered, Door, naive, ours
from bench.webhook_load.writes import open_desk, rate

ROUNDS = 3
SMALL = 12_000
MIXED, LARGE_EVERY = 1_500, 100
HALF_S = 8
WRITTEN, ONE_BY_ONE = 4_000, 400
TIMES_NAIVE, TIMES_ONE_BY_ONE = 3, 15
P99_MS = 50


def door() -> list[Figure]:
    with Place() as here, Place() as there:
        doors = ours(here), naive(there)
        for each in doors:
            each.load(1_000)
        return [
            *_posted(*doors, SMALL, 0, "small events"),
            *_posted(*doors, MIXED, LARGE_EVERY, "1 % of 5 MB"),
        ]


def _posted(mine: Door, theirs: Door, events: int, large_every: int, what: str) -> list[Figure]:
    """Measure both doors in turns: at their full rate, then ours at half of it and theirs at half of theirs."""
    rounds = [
        tuple(each.load(events, large_every=large_every) for each in (mine, theirs))
        for _ in range(ROUNDS)
    ]
    assert not any(each.failed for pair in rounds for each in pair)

    def middle(of: Callable[[Answered], float]) -> tuple[float, float]:
        ours, beside = (statistics.median(map(of, side)) for side in zip(*rounds, strict=True))
        return ours, beside

    full, beside = middle(lambda each: each.rate)
    half = [
        each.load(min(events, int(rate * HALF_S)), large_every=large_every, rate=rate)
        for each, rate in ((mine, full / 2), (theirs, beside / 2))
    ]
    target = None if large_every else TIMES_NAIVE * beside
    figures = [
        Figure(f"{what}: accepted", "events/s", full, beside, target, more=True),
        Figure(f"{what}: the door's CPU", "µs/event", *middle(lambda each: each.cpu_us)),
        Figure(f"{what}: answer, p50", "ms", *middle(lambda each: each.small[0])),
        Figure(f"{what}: answer, p99", "ms", *middle(lambda each: each.small[1])),
        Figure(f"{what}: answer at half the rate, p50", "ms", half[0].small[0], half[1].small[0]),
        Figure(
            f"{what}: answer at half the rate, p99",
            "ms",
            half[0].small[1],
            half[1].small[1],
            P99_MS,
        ),
    ]
    if large_every:
        figures.append(
            Figure(
                f"{what}: answer to a file at half the rate, p50",
                "ms",
                half[0].large[0],
                half[1].large[0],
            )
        )
    return figures


def writes() -> list[Figure]:
    with open_desk() as desk:
        rate(desk.in_batches, 400)
        rate(desk.one_by_one, 40)
        found = [
            (rate(desk.in_batches, WRITTEN), rate(desk.one_by_one, ONE_BY_ONE))
            for _ in range(ROUNDS)
        ]
    batched, single = (statistics.median(side) for side in zip(*found, strict=True))
    return [
        Figure(
            "written to Supabase", "events/s", batched, single, TIMES_ONE_BY_ONE * single, more=True
        )
    ]


PARTS: dict[str, Callable[[], list[Figure]]] = {"door": door, "writes": writes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--no-fail", action="store_true", help="exit with 0 whatever the figures are"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these alone")
    given = parser.parse_args()
    began, figures = time.monotonic(), list[Figure]()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    for name in given.only or PARTS:
        figures += PARTS[name]()
    print(table(figures).replace("stock", "naive", 1))
    print(f"load after: {os.getloadavg()[0]:.1f}; took {time.monotonic() - began:.0f} s")
    if not given.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

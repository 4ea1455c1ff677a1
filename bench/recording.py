"""Measure the way of outcomes into Postgres: `python -m bench.recording [--only PART …]`.

Life-cycles (a message, its three reports and an answer; nine outcomes with their log entries) go
through `wpp_apply` in batches as the recorder writes them, beside the same outcomes written singly
through the same PostgREST. CPU is that of Postgres' backends, from the kernel's count.
`empty`: a new database. `full`: one with `--messages` messages of 100,000 clients.
`four`: four recorders of one organization, beside one. `growth`: bytes on disk for each life-cycle.
Exits with 1 when a target is missed.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.engine_sides.figures import Figure, table
from bench.kept import figure_file
from bench.recording_load import history
from bench.recording_load.life_cycles import OUTCOMES, Number, Rows, make_rows
from bench.recording_load.writers import Cost, OutcomeStore, open_store

ROUNDS = 3
BATCHED, SINGLE, WARM_UP, GROWTH = 600, 30, 300, 5_000
PEOPLE = {"empty": 2_000, "full": 100_000}
MIN_TIMES_SINGLE = 15
RECORDERS = 4


@dataclass(frozen=True)
class Sides:
    """Median figures of the rounds of both ways to write."""

    batched: Cost
    single: Cost

    def figures(self, what: str) -> list[Figure]:
        ours, theirs = self.batched, self.single
        target = MIN_TIMES_SINGLE * theirs.rate
        return [
            Figure(f"{what}: outcomes", "/s", ours.rate, theirs.rate, target, more=True),
            Figure(f"{what}: CPU of Postgres", "µs each", ours.cpu_us, theirs.cpu_us),
            Figure(f"{what}: CPU of the recorder", "µs each", ours.own_cpu_us, theirs.own_cpu_us),
        ]


def measure_empty(messages: int) -> list[Figure]:
    """Measure with a new database."""
    del messages
    with open_store() as store:
        number = store.connect_number("0000000000001", PEOPLE["empty"])
        return _measure_sides(store, number).figures("empty")


def measure_full(messages: int) -> list[Figure]:
    """Measure beside many messages and clients."""
    with open_store() as store:
        number = store.connect_number("0000000000001", PEOPLE["full"])
        history.fill(store, number, messages)
        return _measure_sides(store, number).figures(f"beside {messages:,} messages")


def _measure_sides(store: OutcomeStore, number: Number) -> Sides:
    store.measure_batches([_rows(number, WARM_UP)])
    batched, single = [], []
    for _ in range(ROUNDS):
        batched.append(store.measure_batches([_rows(number, BATCHED)]))
        single.append(store.measure_singly(number, _rows(number, SINGLE)))
    return Sides(_median(batched), _median(single))


def measure_four(messages: int) -> list[Figure]:
    """Measure recorders of one organization; "stock" is one recorder."""
    del messages
    with open_store() as store:
        number = store.connect_number("0000000000001", PEOPLE["empty"])
        store.measure_batches([_rows(number, WARM_UP)] * RECORDERS)
        together, alone = [], []
        for _ in range(ROUNDS):
            alone.append(store.measure_batches([_rows(number, BATCHED)]))
            shares = [_rows(number, BATCHED // 2) for _ in range(RECORDERS)]
            together.append(store.measure_batches(shares))
        ours, one = _median(together), _median(alone)
        return [
            Figure(f"{RECORDERS} recorders: outcomes", "/s", ours.rate, one.rate, more=True),
            Figure(f"{RECORDERS} recorders: CPU of Postgres", "µs each", ours.cpu_us, one.cpu_us),
        ]


def measure_growth(messages: int) -> list[Figure]:
    """Print what a life-cycle adds to each table, after a vacuum."""
    del messages
    with open_store() as store:
        number = store.connect_number("0000000000001", PEOPLE["empty"])
        store.measure_batches([_rows(number, WARM_UP)])
        history.with_statistics(store)
        before = history.sizes(store)
        store.measure_batches([_rows(number, GROWTH)])
        history.with_statistics(store)
        print(f"{'bytes for each life-cycle (two messages)':40} {'rows':>8} {'indexes':>8}")
        totals = [0.0, 0.0]
        for name, after in history.sizes(store).items():
            grown = [(new - old) / GROWTH for new, old in zip(after, before[name], strict=True)]
            totals = [total + each for total, each in zip(totals, grown, strict=True)]
            print(f"{name:40} {grown[0]:8.0f} {grown[1]:8.0f}")
        print(f"{'together':40} {totals[0]:8.0f} {totals[1]:8.0f}")
        return []


def _rows(number: Number, life_cycles: int) -> Rows:
    return [row for wave in make_rows(number, life_cycles) for row in wave]


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        outcomes=costs[0].outcomes,
        seconds=median(cost.seconds for cost in costs),
        cpu_us=median(cost.cpu_us for cost in costs),
        own_cpu_us=median(cost.own_cpu_us for cost in costs),
    )


PARTS: dict[str, Callable[[int], list[Figure]]] = {
    "empty": measure_empty,
    "full": measure_full,
    "four": measure_four,
    "growth": measure_growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 in any case")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts only")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of the part `full`")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    began = time.monotonic()
    figures: list[Figure] = []
    print(f"load before: {os.getloadavg()[0]:.1f}; {OUTCOMES} outcomes a life-cycle", flush=True)
    for name in given.only or PARTS:
        figures += PARTS[name](given.messages)
    print(table(figures).replace("stock", "other", 1))
    print(f"load after: {os.getloadavg()[0]:.1f}; took {time.monotonic() - began:.0f} s")
    if given.json:
        figure_file.write(given.json, figures)
    if not given.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

"""Measure the engine beside Dramatiq's Redis broker.

`python -m bench.engine [--no-fail] [--only PART …]`. Both run within this run, in turns or side by
side, each on its own durable Redis, the stock broker with its default settings. README.md defines
each figure. Exits with 1 when a target is missed.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.engine_sides.cost import costs
from bench.engine_sides.fairness import fairness
from bench.engine_sides.figures import Figure, table
from bench.engine_sides.footprint import footprints
from bench.engine_sides.idle import idle
from bench.engine_sides.pickup import pickups
from bench.engine_sides.recovery import Recovery
from bench.engine_sides.throughput import throughputs
from bench.kept import figure_file


def recovery() -> list[Figure]:
    return [Recovery().figure()]


def quiet() -> list[Figure]:
    """Run the measurements that need little CPU, some of them at the same time."""
    recovering = Recovery()
    return [*pickups(), *idle(), recovering.figure()]


PARTS: dict[str, Callable[[], list[Figure]]] = {
    "pickup": pickups,
    "idle": idle,
    "footprint": footprints,
    "recovery": recovery,
    "cost": costs,
    "throughput": throughputs,
    "fairness": fairness,
}
ALL = (quiet, footprints, costs, throughputs, fairness)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--no-fail", action="store_true", help="exit with 0 whatever the figures are"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these alone")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    began, figures = time.monotonic(), list[Figure]()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    for measure in [PARTS[name] for name in arguments.only] if arguments.only else ALL:
        figures += measure()
    print(table(figures))
    print(f"load after: {os.getloadavg()[0]:.1f}; took {time.monotonic() - began:.0f} s")
    if arguments.json:
        figure_file.write(arguments.json, figures)
    if not arguments.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

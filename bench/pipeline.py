"""Measure the life-cycle of messages, ours beside the same job made of stock parts.

`python -m bench.pipeline [--side NAME …] [--only LOAD …] [--messages N] [--json FILE]`. A message
comes through the API, goes to the platform, comes back as three acks, and its row is written. Each
side runs on a Redis of its own, with the same Postgres, PostgREST and stand-in for the platform.
README.md defines the figures.
"""

import argparse
import os
import time
from contextlib import ExitStack
from pathlib import Path

from bench.engine_sides.place import Place
from bench.kept import figure_file
from bench.pipeline_sides.measure import PEERS, Load, Result, measure
from bench.pipeline_sides.report import list_figures, table
from bench.pipeline_sides.sides import ORGANIZATIONS, SIDES
from bench.pipeline_sides.world import open_world

CALM_PER_S = 10.0
REHEARSAL = Load("rehearsal", ORGANIZATIONS * PEERS)
"""A message to each peer: contacts, routes and tokens are known afterwards."""


def make_loads(messages: int) -> dict[str, Load]:
    return {
        "calm": Load(f"{CALM_PER_S:.0f} a second", messages, CALM_PER_S),
        "full": Load("all at once", 3 * messages),
    }


def run(sides: list[str], loads: list[Load]) -> dict[str, dict[str, Result]]:
    """Return {load: {side: result}}; the sides run one after the other."""
    found: dict[str, dict[str, Result]] = {load.name: {} for load in loads}
    with open_world() as world:
        for name in sides:
            with ExitStack() as undo:
                place = undo.enter_context(Place(**world.environment))
                side = SIDES[name](world, place)
                side.start()
                measure(side, REHEARSAL)
                for load in loads:
                    found[load.name][name] = measure(side, load)
                place.check()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--only", nargs="+", choices=make_loads(0), help="measure these loads only")
    parser.add_argument("--messages", type=int, default=100, help="at full load thrice as many")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    given = parser.parse_args()
    began, loads = time.monotonic(), make_loads(given.messages)
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    found = run(given.side, [loads[name] for name in given.only or loads])
    print("\n\n".join(table(name, results) for name, results in found.items()))
    print(f"load after: {os.getloadavg()[0]:.1f}; took {time.monotonic() - began:.0f} s")
    if given.json:
        figure_file.write(
            given.json,
            [figure for load, results in found.items() for figure in list_figures(load, results)],
        )


if __name__ == "__main__":
    main()

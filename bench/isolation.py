"""Measure what an organization at its worst costs another: `python -m bench.isolation`.

Options: `[--only PHASE …] [--seconds N] [--json FILE] [--no-fail]`. All processes run, on a local
Redis, Supabase and platform. In each phase an organization does its worst in one way, while another
sends a code a second. README.md describes the phases. Exits with 1 when a target is missed.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.isolation_phases.figures import PhaseResult, format_row, format_table
from bench.isolation_phases.phases import PHASES
from bench.isolation_phases.run import measure_phase
from bench.kept import figure_file
from tests.faults.conftest import connect_integration, wait_until_ready
from tests.faults.environment import PLATFORM_DELAYS, FaultEnvironment
from tests.fixtures.fleet import Fleet

ORGANIZATIONS = 3
SECONDS = 20


@contextmanager
def open_environment() -> Iterator[FaultEnvironment]:
    """Return the servers, with connected integrations of three organizations."""
    os.environ.update({f"WPP_SANDBOX_{name}": value for name, value in PLATFORM_DELAYS.items()})
    with tempfile.TemporaryDirectory(prefix="wpp-isolation-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postgres runs as another user
        env = FaultEnvironment(directory, directory / "logs")
        with env.run():
            with Fleet(env.environment, env.logs / "connect"):
                wait_until_ready(env)
                with ThreadPoolExecutor(ORGANIZATIONS) as pool:
                    connected = pool.map(lambda _: connect_integration(env), range(ORGANIZATIONS))
                    env.integrations = list(connected)
            yield env


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PHASES, help="measure these phases only")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="codes of each phase")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 in any case")
    given = parser.parse_args()
    began = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    report(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    results: list[PhaseResult] = []
    with open_environment() as env:
        for name in given.only or PHASES:
            results.append(measure_phase(env, name, given.seconds, report))
            report(f"{format_row(results[-1])}  ({results[-1].attack})")
            if given.json:
                figure_file.write(given.json, [f for each in results for f in each.figures()])
    print(format_table(results))
    report(f"load after: {os.getloadavg()[0]:.1f}")
    if not given.no_fail:
        sys.exit(any(result.missed for result in results))


if __name__ == "__main__":
    main()

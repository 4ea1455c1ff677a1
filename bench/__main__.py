"""Run benches and print one page: `python -m bench [NAME …]`.

Figures are kept in `.local/bench`, a file for each bench beside the output of its last run; each
page says what changed since the run before. Exits with 1 when a bench missed a target or failed,
and says which and why.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.kept import figure_file
from bench.kept.page import BenchRun, render
from sandbox.pipeline import ROOT

FOLDER = ROOT / ".local" / "bench"
BENCHES = sorted(
    file.stem for file in Path(__file__).parent.glob("[a-z]*.py") if not file.stem.startswith("_")
)


def run_bench(name: str) -> BenchRun:
    """Run a bench; keep its figures and its output."""
    kept, log = FOLDER / f"{name}.json", FOLDER / f"{name}.log"
    before = figure_file.read(kept)
    with TemporaryDirectory() as directory, log.open("w") as output:
        fresh = Path(directory) / "figures.json"
        command = [sys.executable, "-m", f"bench.{name}", "--json", str(fresh)]
        status = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
        figures = figure_file.read(fresh)
        if figures:
            kept.write_bytes(fresh.read_bytes())
    return BenchRun(name, figures, before, find_failure(figures, status, log))


def find_failure(figures: list[figure_file.KeptFigure], status: int, log: Path) -> str:
    """Return why a bench ended without success: its missed targets, else its last words."""
    if not status:
        return ""
    if missed := [figure.name for figure in figures if figure.missed]:
        return f"missed: {', '.join(missed)}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else f'status {status}'} (see {log})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benches", nargs="*", default=BENCHES, help=f"of {', '.join(BENCHES)}")
    given = parser.parse_args()
    if unknown := set(given.benches) - set(BENCHES):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs = []
    for name in given.benches:
        began = time.monotonic()
        print(f"{name} …", end="", file=sys.stderr, flush=True)
        runs.append(run_bench(name))
        print(f" {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(render(runs))
    sys.exit(any(run.failure for run in runs))


if __name__ == "__main__":
    main()

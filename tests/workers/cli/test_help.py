"""The help of `wpp` has its commands under headings, and answers at once."""

import resource
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from workers.cli.app import INSPECT, RECOVER, SET_UP, app

ROOT = Path(__file__).parents[3]
CPU_S = 0.3
ATTEMPTS = 3


def test_commands_stand_under_their_headings() -> None:
    lines = CliRunner().invoke(app, ["--help"]).stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", f"{INSPECT}:", f"{RECOVER}:", f"{SET_UP}:"]
    under = lines.index(f"{RECOVER}:") + 1
    assert lines[under].startswith("  settle ")


def test_help_takes_little() -> None:
    """Rich, which would draw frames, takes most of half a second to load."""
    took = []
    for _ in range(ATTEMPTS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "workers.cli.app", "--help"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if took[-1] < CPU_S:
            return
    assert min(took) < CPU_S

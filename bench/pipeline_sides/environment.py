"""Environments of stock parts that agree with no other: made at the first run, kept in .local."""

import subprocess
import sys
from pathlib import Path

from sandbox.pipeline import ROOT

ENVIRONMENTS = ROOT / ".local" / "bench"


def prepare(name: str) -> Path:
    """Return the directory of the programs that requirements/bench-<name>.txt names."""
    uv = Path(sys.executable).parent / "uv"
    requirements = ROOT / "requirements" / f"bench-{name}.txt"
    environment = ENVIRONMENTS / name
    done = environment / "ready"
    if not done.exists() or done.read_text() != requirements.read_text():
        print(f"Making the environment of {name} …", flush=True)
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        python = environment / "bin" / "python"
        _run(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, requirements)
        done.write_text(requirements.read_text())
    return environment / "bin"


def _run(*command: str | Path) -> None:
    subprocess.run([str(each) for each in command], check=True)

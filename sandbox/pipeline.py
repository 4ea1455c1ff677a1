"""The pipeline's own processes, run from the Procfile as in production."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.ports import LOCALHOST
from sandbox.processes import Program, responds_ok
from sandbox.services import Service

ROOT = Path(__file__).parents[1]
STOP_WITHIN_S = 40.0
"""Longer than the workers' own grace period."""


class Pipeline(Service):
    """Every process of the Procfile, with `environment` from `LocalWorld`; they write to `log`.

    `log` holds the last run of all processes, `logs/` beside it a file per process and day.
    """

    ready_within_s = 60.0

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.url = f"http://{LOCALHOST}:{environment['PORT']}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment, "PATH": path}
        self._log = log

    def check(self) -> None:
        """Raise SandboxError if a process has ended: honcho then ends the rest."""
        if self._process and not self._process.alive:
            ended = [
                line
                for line in self._log.read_text(errors="replace").splitlines()
                if " stopped (rc=" in line
            ]
            first = ended[0].split("|")[-1].strip() if ended else "it ended"
            msg = f"a process of the pipeline stopped: {first}. See {self._log}"
            raise SandboxError(msg)

    def _make_program(self) -> Program:
        self._log.unlink(missing_ok=True)
        logs = self._log.parent / "logs"
        return Program(
            "the pipeline",
            (sys.executable, "-m", "sandbox.procfile", str(logs)),
            self._log,
            environment={**self._environment, "PYTHONPATH": str(ROOT)},
            stop_within_s=STOP_WITHIN_S,
        )

    def _answers(self) -> bool:
        return responds_ok(f"{self.url}/ready")

"""The pipeline's own processes, run from the Procfile by honcho: the same lines as in production."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.errors import SandboxError
from sandbox.ports import LOCALHOST
from sandbox.processes import Process, Program, serves

ROOT = Path(__file__).parents[1]
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 40.0
"""Longer than the workers' own grace period."""


class Pipeline:
    """Every process of the Procfile with `environment`, which World gives; what they write goes to `log`."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.url = f"http://{LOCALHOST}:{environment['PORT']}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment, "PATH": path}
        self._log = log
        self._process: Process | None = None

    def __enter__(self) -> Self:
        port = self._environment["PORT"]
        command = (
            sys.executable,
            "-m",
            "honcho",
            "--app-root",
            str(ROOT),
            "start",
            "-f",
            str(ROOT / "Procfile"),
            "-p",
            port,
        )
        self._log.unlink(missing_ok=True)
        self._process = Process(
            Program("the pipeline", command, self._log, environment=self._environment)
        )
        try:
            self._process.wait_until(serves(f"{self.url}/ready"), within_s=READY_WITHIN_S)
        except BaseException:
            self._process.stop(within_s=STOP_WITHIN_S)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._process:
            self._process.stop(within_s=STOP_WITHIN_S)

    def check(self) -> None:
        """Raise SandboxError when the processes have stopped: honcho ends them all when one of them dies."""
        if self._process and not self._process.alive:
            ended = [
                line
                for line in self._log.read_text(errors="replace").splitlines()
                if " stopped (rc=" in line
            ]
            first = ended[0].split("|")[-1].strip() if ended else "it ended"
            msg = f"a process of the pipeline stopped: {first}. See {self._log}"
            raise SandboxError(msg)

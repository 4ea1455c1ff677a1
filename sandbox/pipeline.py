"""The pipeline's own processes, run from the Procfile as in production."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError, SettingError
from sandbox.ports import LOCALHOST
from sandbox.processes import Program, responds_ok
from sandbox.services import Service

ROOT = Path(__file__).parents[1]
STOP_WITHIN_S = 40.0
"""Longer than the workers' own grace period."""
MISTAKES = (2, 78)
"""Exit codes of a process whose arguments or settings are wrong."""
ENDED = re.compile(r"(\S+) stopped \(rc=(-?\d+)\)")
REASON = re.compile(r"process\.cannot_start\s.*?\breason=(['\"])(.*)\1")


@dataclass(frozen=True)
class Ended:
    """A process that ended by itself."""

    name: str
    code: int
    last_line: str


def find_ended(lines: Sequence[str]) -> Ended | None:
    """Return the first process that ended by itself, from the output of honcho."""
    last_lines: dict[str, str] = {}
    for line in lines:
        prefix, _, text = line.partition("|")
        if found := ENDED.fullmatch(text.strip()):
            name, code = found.groups()
            return Ended(name, int(code), _explain(last_lines.get(name, "")))
        if text.strip():
            last_lines[prefix.split()[-1]] = text.strip()
    return None


def _explain(line: str) -> str:
    """Return the reason that a process logged for a failed start, or the line as it is."""
    found = REASON.search(line)
    return found[2].removeprefix("cannot start: ") if found else line


class Pipeline(Service):
    """Every process of a Procfile, with `environment` from `LocalWorld`; they write to `log`.

    `log` holds the last run of all processes, `logs/` beside it a file per process and day.
    """

    ready_within_s = 60.0

    def __init__(
        self, environment: Mapping[str, str], log: Path, procfile: str = "Procfile"
    ) -> None:
        self.url = f"http://{LOCALHOST}:{environment['PORT']}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment, "PATH": path}
        self._log = log
        self._procfile = procfile

    def wait(self) -> None:
        """Return once the ingress answers; raises as `check` does."""
        try:
            super().wait()
        except SandboxError:
            self.check()
            raise

    def check(self) -> None:
        """Raise if a process has ended: honcho then ends the rest.

        Raises:
            SettingError: a setting keeps it from starting; the text is its own last line.
            SandboxError: it ended otherwise.
        """
        if not self._process or self._process.alive:
            return
        ended = find_ended(self._log.read_text(errors="replace").splitlines())
        if ended is None:
            msg = f"the pipeline ended. See {self._log}"
            raise SandboxError(msg)
        if ended.code in MISTAKES:
            msg = f"{ended.name}: {ended.last_line} ({self._log})"
            raise SettingError(msg)
        last = f": {ended.last_line}" if ended.last_line else ""
        msg = f"{ended.name} stopped (rc={ended.code}){last}. See {self._log}"
        raise SandboxError(msg)

    def _make_program(self) -> Program:
        self._log.unlink(missing_ok=True)
        logs = self._log.parent / "logs"
        return Program(
            "the pipeline",
            (sys.executable, "-m", "sandbox.procfile", str(logs), self._procfile),
            self._log,
            environment={**self._environment, "PYTHONPATH": str(ROOT)},
            stop_within_s=STOP_WITHIN_S,
        )

    def _answers(self) -> bool:
        return responds_ok(f"{self.url}/ready")

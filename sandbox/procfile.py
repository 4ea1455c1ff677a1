"""Runs every line of a Procfile until one of them ends: `python -m sandbox.procfile LOGS Procfile`.

Honcho starts and stops them, and its output has the lines of all. Beside it, each process has a
file of its own for each day in `LOGS`, which outlives restarts: `LOGS/send-2026-11-29.log`.
"""

import os
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from dotenv import dotenv_values
from honcho import environ
from honcho.manager import Manager
from honcho.printer import Message, Printer

ROOT = Path(__file__).parents[1]
KEPT = timedelta(days=14)
"""How long the file of a day is kept."""


class DailyFiles:
    """A file per process and day, to which lines are appended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, tuple[date, TextIO]] = {}

    def write(self, process: str, line: str, at: datetime) -> None:
        """Append a line; `process` is a name like `send.1`."""
        name = process.removesuffix(".1")
        day, file = self._open.get(name, (None, None))
        if file is None or day != at.date():
            if file:
                file.close()
            file = (self.directory / f"{name}-{at:%Y-%m-%d}.log").open("a", encoding="utf-8")
            self._open[name] = (at.date(), file)
        file.write(f"{line}\n")
        file.flush()

    def prune(self, today: date) -> None:
        """Delete the files of days that are over for longer than `KEPT`."""
        oldest = f"{today - KEPT:%Y-%m-%d}"
        for path in self.directory.glob("*-????-??-??.log"):
            if path.stem[-10:] < oldest:
                path.unlink()

    def close(self) -> None:
        for _, file in self._open.values():
            file.close()
        self._open.clear()


class FilingPrinter(Printer):  # type: ignore[misc]
    """Honcho's printer, which writes each line to the file of its process as well."""

    def __init__(self, files: DailyFiles, **options: Any) -> None:
        super().__init__(**options)
        self._files = files

    def write(self, message: Message) -> None:
        super().write(message)
        text = message.data
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        for line in text.splitlines():
            self._files.write(message.name or "system", line, message.time)


def run(logs: Path, procfile: Path, environment: Mapping[str, str]) -> int:
    """Run a Procfile with the environment, and what `.env` adds to it; return the exit code."""
    files = DailyFiles(logs)
    files.prune(datetime.now().date())  # noqa: DTZ005 - a day of this machine, as in the lines
    manager = Manager(FilingPrinter(files, output=sys.stdout))
    commands = environ.parse_procfile(procfile.read_text()).processes
    added = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value}
    for each in environ.expand_processes(commands, env={**added, **environment}):
        manager.add_process(each.name, each.cmd, env=each.env, cwd=str(ROOT))
    try:
        manager.loop()
    finally:
        files.close()
    return int(manager.returncode or 0)


if __name__ == "__main__":
    raise SystemExit(run(Path(sys.argv[1]), ROOT / sys.argv[2], os.environ))

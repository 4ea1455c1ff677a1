"""The handler of both brokers' workers: note when an event began, or do nothing."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NOTES = "BENCH_NOTES"
HELD_S = 100.0
"""Longer than any measurement: a held event ends with its worker."""


@dataclass(frozen=True)
class Note:
    name: str
    at: float
    pid: int


def handle(payload: dict[str, Any]) -> None:
    """Note the start of an event with a `name`. An event to `hold` blocks its first worker."""
    if name := payload.get("name"):
        os.write(_notes(), f"{name} {time.monotonic()} {os.getpid()}\n".encode())
        if payload.get("hold"):
            with suppress(FileExistsError):
                Path(f"{os.environ[NOTES]}.{name}").touch(exist_ok=False)
                time.sleep(HELD_S)


def read(notes: Path) -> Iterator[Note]:
    """Yield the noted starts, in times of the system's monotonic clock."""
    for line in notes.read_text().splitlines() if notes.exists() else []:
        name, at, pid = line.split()
        yield Note(name, float(at), int(pid))


@cache
def _notes() -> int:
    return os.open(os.environ[NOTES], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

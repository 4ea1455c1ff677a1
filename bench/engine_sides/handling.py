"""What both brokers' workers do with an event of the bench: note when it began, or nothing at all."""

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
"""Longer than any measurement: what is held ends with its worker."""


@dataclass(frozen=True)
class Note:
    name: str
    at: float
    pid: int


def handle(payload: dict[str, Any]) -> None:
    """Note the begin of what has a `name`. What is to `hold` doesn't end the first time, whoever gets it."""
    if name := payload.get("name"):
        os.write(_notes(), f"{name} {time.monotonic()} {os.getpid()}\n".encode())
        if payload.get("hold"):
            with suppress(FileExistsError):
                Path(f"{os.environ[NOTES]}.{name}").touch(exist_ok=False)
                time.sleep(HELD_S)


def read(notes: Path) -> Iterator[Note]:
    """Yield what has been noted. Its times are of the system's monotonic clock, as everybody's are here."""
    for line in notes.read_text().splitlines() if notes.exists() else []:
        name, at, pid = line.split()
        yield Note(name, float(at), int(pid))


@cache
def _notes() -> int:
    return os.open(os.environ[NOTES], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

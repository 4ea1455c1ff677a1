"""A client of the stand-in for the platform and Supabase (`answers.py`)."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from sandbox.pipeline import ROOT
from sandbox.ports import LOCALHOST


class Played:
    def __init__(self, port: int) -> None:
        self.url = f"http://{LOCALHOST}:{port}"
        self.environment = {"SUPABASE_URL": self.url, "WPP_BASE_URL": self.url}

    def answer_after(self, ms: int) -> None:
        self._get(f"late/{ms}")

    @property
    def sent(self) -> int:
        """How many messages have arrived."""
        return int(self._get("sent")["sent"])

    def _get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/{path}", trust_env=False).json()


@contextmanager
def playing() -> Iterator[Played]:
    with running("bench.engine_sides.answers") as port:
        yield Played(port)


@contextmanager
def running(module: str) -> Iterator[int]:
    """Run a stand-in that prints its port; return the port."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            yield int(program.stdout.readline())
        finally:
            program.kill()

"""The platform's sandbox as a process of its own."""

import os
import sys
from pathlib import Path

from sandbox.ports import LOCALHOST
from sandbox.processes import Program, responds_ok
from sandbox.services import Service


class PlatformProcess(Service):
    """`python -m sandbox.platform` on `port`, with its state in `directory`.

    `secret` is the value that callers need as WPP_SECRET.
    """

    def __init__(self, directory: Path, port: int, secret: str) -> None:
        self.url = f"http://{LOCALHOST}:{port}"
        self._directory = directory
        self._port = port
        self._secret = secret

    def _make_program(self) -> Program:
        self._directory.mkdir(parents=True, exist_ok=True)
        options = ("--port", str(self._port), "--state", str(self._directory))
        return Program(
            "the platform's sandbox",
            (sys.executable, "-m", "sandbox.platform", *options),
            self._directory.parent / "platform.log",
            self._port,
            # The secret is no option: every user of the machine can read the options of a process.
            environment={**os.environ, "WPP_SANDBOX_SECRET": self._secret},
        )

    def _answers(self) -> bool:
        return responds_ok(f"{self.url}/health")

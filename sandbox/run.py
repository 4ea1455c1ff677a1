"""The platform's sandbox as a process of its own."""

import os
import sys
from pathlib import Path

from sandbox.ports import LOCALHOST
from sandbox.processes import Process, Program, serves

READY_WITHIN_S = 20.0


class PlayedPlatform:
    """`python -m sandbox.platform` on `port`, its state and log in `directory`; `secret` is what WPP_SECRET must be."""

    def __init__(self, directory: Path, port: int, secret: str) -> None:
        self.url = f"http://{LOCALHOST}:{port}"
        self._directory = directory
        self._port = port
        self._secret = secret
        self._process: Process | None = None

    def launch(self) -> None:
        """Start it without waiting."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = (
            sys.executable,
            "-m",
            "sandbox.platform",
            "--port",
            str(self._port),
            "--state",
            str(self._directory),
        )
        settings = {
            **os.environ,
            "WPP_SANDBOX_SECRET": self._secret,
        }  # not an option: those are shown to everybody
        log = self._directory.parent / "platform.log"
        self._process = Process(
            Program("the platform's sandbox", command, log, self._port, environment=settings)
        )

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            SandboxError: it stopped, with the end of its log.
        """
        if self._process:
            self._process.wait_until(serves(f"{self.url}/health"), within_s=READY_WITHIN_S)

    def check(self) -> None:
        """Raises SandboxError if it has stopped by itself."""
        if self._process:
            self._process.check()

    def stop(self) -> None:
        if self._process:
            self._process.stop()

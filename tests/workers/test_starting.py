"""A process that cannot work says why, in one line, with an exit code of its own."""

import os
import subprocess
import sys

import pytest

from sandbox.redis import RedisServer
from workers.starting import EXIT_CODE

WITHOUT = ("WPP_", "SUPABASE_", "REDIS_")
PROGRAMS = [
    ["-m", "workers.record"],
    ["-m", "workers.clock"],
    ["-c", "import workers.main"],
]


def start(program: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(WITHOUT)} | settings
    return subprocess.run(
        [sys.executable, *program], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_a_missing_setting_is_named(redis_server: RedisServer, program: list[str]) -> None:
    """Not at the first event, not in a traceback: at start, by the variable's name."""
    done = start(program, REDIS_URL=redis_server.url)
    assert done.returncode == EXIT_CODE
    assert "SUPABASE_URL: Field required" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr

"""A process that cannot work says why, in one line, with an exit code of its own."""

import os
import subprocess
import sys

import pytest

from sandbox.ports import free_port
from sandbox.redis import RedisServer
from workers.process import EXIT_CONFIG, EXIT_UNAVAILABLE

WITHOUT = ("WPP_", "SUPABASE_", "REDIS_")
ENOUGH = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_ANON_KEY": "anon",
    "SUPABASE_SERVICE_ROLE_KEY": "service",
    "WPP_BASE_URL": "http://127.0.0.1:9",
    "WPP_SECRET": "secret",
    "WPP_KEY_SECRETS": "k" * 32,
    "WPP_PUBLIC_URL": "http://127.0.0.1:9",
}
WEB, WORKER, RECORD, CLOCK = (
    ["-m", "workers.ingress", "--port", "0"],
    ["-c", "import workers.main"],
    ["-m", "workers.recorder"],
    ["-m", "workers.clock.__main__"],
)
PROGRAMS = [WEB, WORKER, RECORD, CLOCK]


def start(program: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(WITHOUT)
    } | settings
    return subprocess.run(
        [sys.executable, *program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_a_missing_setting_is_named(redis_server: RedisServer, program: list[str]) -> None:
    """Not at the first event, not in a traceback: at start, by the variable's name."""
    done = start(program, REDIS_URL=redis_server.url)
    assert done.returncode == EXIT_CONFIG
    assert "SUPABASE_URL: Field required" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("program", "name", "value"),
    [
        (WEB, "WPP_KEY_SECRETS", "too short"),
        (WEB, "WPP_BODY_LIMIT", "much"),
        (WEB, "WPP_PAGE_PARENTS", "everybody"),
        (WEB, "WPP_LEASE_S", "0"),
        (WEB, "WPP_LOG_FORMAT", "poem"),
        (WORKER, "WPP_LOG_FORMAT", "poem"),
        (WORKER, "WPP_MEDIA_LIMIT", "much"),
        (CLOCK, "WPP_BASE_URL", "nowhere"),
        (RECORD, "SUPABASE_URL", "nowhere"),
        *((program, "REDIS_URL", "localhost:6379") for program in (WEB, RECORD)),
    ],
)
def test_a_wrong_setting_is_named(
    redis_server: RedisServer, program: list[str], name: str, value: str
) -> None:
    """Whatever it is for, and although it would be needed much later only."""
    done = start(program, **{"REDIS_URL": redis_server.url, **ENOUGH, name: value})
    assert done.returncode == EXIT_CONFIG, done.stdout + done.stderr
    assert f"cannot start: {name}: " in done.stdout
    assert value not in done.stdout or name not in {"WPP_KEY_SECRETS", "REDIS_URL"}
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_without_redis_it_says_so(program: list[str]) -> None:
    """With a code of its own: a supervisor may try again."""
    done = start(program, **ENOUGH, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert done.returncode == EXIT_UNAVAILABLE
    assert "Redis does not answer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr

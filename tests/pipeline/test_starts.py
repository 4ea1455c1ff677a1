"""A start that fails says why in its last line, once, names the variable, and takes 5 s at most."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.pipeline import ROOT
from sandbox.ports import free_port
from sandbox.redis import RedisServer
from tests.fixtures.fleet import procfile_commands
from workers.process import EXIT_CONFIG, EXIT_UNAVAILABLE

WITHIN_S = 5.0
ATTEMPTS = 3
"""The quickest of so many starts counts: what else runs on the machine slows some of them down."""
SPIN_S = 0.1
COMMANDS = procfile_commands() | {
    "single": "python -m workers.single --threads ${WORK_THREADS:-16}"
}
WITHOUT = ("WPP_", "SUPABASE_", "REDIS_")
ENOUGH = {
    "PORT": "0",
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_ANON_KEY": "anon",
    "SUPABASE_SERVICE_ROLE_KEY": "service",
    "WPP_BASE_URL": "http://127.0.0.1:9",
    "WPP_SECRET": "secret",
    "WPP_KEY_SECRETS": "k" * 32,
    "WPP_PUBLIC_URL": "http://127.0.0.1:9",
}
Settings = Mapping[str, str | None]
BAD: dict[str, tuple[Settings, str, int]] = {
    "missing": ({"SUPABASE_ANON_KEY": None}, "SUPABASE_ANON_KEY", EXIT_CONFIG),
    "misspelled": (
        {"SUPABASE_URL": None, "SUPABASE_ULR": "http://127.0.0.1:9"},
        "SUPABASE_URL: Field required, and SUPABASE_ULR is no setting: is it misspelled?",
        EXIT_CONFIG,
    ),
    "malformed": ({"SUPABASE_URL": "nowhere"}, "SUPABASE_URL", EXIT_CONFIG),
    "no Redis URL": ({"REDIS_URL": "localhost:6379"}, "REDIS_URL", EXIT_CONFIG),
    "no Redis there": ({"REDIS_URL": "redis://127.0.0.1:9/0"}, "REDIS_URL", EXIT_UNAVAILABLE),
}
"""By kind: what is changed, what the last line names, and the exit code."""


@dataclass(frozen=True)
class FailedStart:
    code: int
    lines: list[str]
    took_s: float


def start(command: str, settings: Settings) -> FailedStart:
    """Run a line of the Procfile as a supervisor does, until it ends."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(WITHOUT)
    }
    environment |= {name: value for name, value in settings.items() if value is not None}
    begun = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", f"exec {command}"],
        env=environment | {"PATH": path},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return FailedStart(done.returncode, done.stdout.splitlines(), time.monotonic() - begun)


def measure_slowdown() -> float:
    """Return how many times longer a computation takes here now than on an idle machine."""
    wall_s, cpu_s = time.monotonic(), time.process_time()
    while time.process_time() - cpu_s < SPIN_S:
        pass
    return max(1.0, (time.monotonic() - wall_s) / SPIN_S)


def start_quickly(command: str, settings: Settings) -> FailedStart:
    """Return a start that took less than `WITHIN_S`, or would have on an idle machine."""
    tries = []
    for _ in range(ATTEMPTS):
        before = measure_slowdown()
        failed = start(command, settings)
        slowdown = (before + measure_slowdown()) / 2
        if failed.took_s < WITHIN_S * slowdown:
            return failed
        tries.append((failed.took_s, slowdown))
    pytest.fail(f"every start took too long (seconds, slowdown): {tries}")


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("process", COMMANDS)
def test_the_last_line_says_why_once(redis_server: RedisServer, process: str, kind: str) -> None:
    change, named, code = BAD[kind]
    failed = start_quickly(COMMANDS[process], {**ENOUGH, "REDIS_URL": redis_server.url, **change})
    assert failed.code == code, failed.lines
    assert failed.lines[-1].count(named) == 1, failed.lines
    assert sum("cannot_start" in line for line in failed.lines) == 1
    assert not any("Traceback" in line for line in failed.lines)


def test_of_several_workers_one_says_why(redis_server: RedisServer) -> None:
    """They have the same settings; Dramatiq's own word about their end is left out."""
    settings = {**ENOUGH, "REDIS_URL": redis_server.url, "WPP_LEASE_S": "0"}
    failed = start(COMMANDS["send"], {**settings, "SEND_PROCESSES": "3"})
    assert failed.code == EXIT_CONFIG
    assert [line for line in failed.lines if "WPP_LEASE_S" in line] == failed.lines[-1:]


@pytest.mark.parametrize(
    ("process", "variable"), [("send", "SEND_THREADS"), ("single", "WORK_THREADS")]
)
def test_a_worker_without_threads_is_refused(
    redis_server: RedisServer, process: str, variable: str
) -> None:
    """It would report itself as running, and handle nothing."""
    settings = {**ENOUGH, "REDIS_URL": redis_server.url}
    failed = start(COMMANDS[process], {**settings, variable: "0"})
    assert failed.code == EXIT_CONFIG, failed.lines
    assert f"{variable}: 0 threads handle nothing" in failed.lines[-1]


@pytest.mark.parametrize("port", ["99999", "http", "-1"])
def test_a_port_that_does_not_exist_is_a_mistake(port: str) -> None:
    """It is found before any connection is made."""
    failed = start_quickly(COMMANDS["web"].replace("--port ", "--port="), {"PORT": port})
    assert failed.code == 2
    assert failed.lines[-1].count("PORT") == 1


def test_a_taken_port_is_named(redis_server: RedisServer) -> None:
    port = free_port()
    settings = {**ENOUGH, "REDIS_URL": redis_server.url, "PORT": str(port)}
    with socket.create_server(("127.0.0.1", port)):
        failed = start_quickly(COMMANDS["web"], settings)
    assert failed.code == EXIT_CONFIG
    assert f"PORT or HOST: 127.0.0.1:{port}: Address already in use" in failed.lines[-1]

"""Health of the pipeline turns red within 30 s when a consumption stops, and green again."""

import os
import signal
import subprocess
import sys
import time

import httpx
import redis

from sandbox.pipeline import ROOT
from shared import processes
from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until


def check_liveness(system: System, role: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "workers.health", role],
        env={**os.environ, **system.environment},
        cwd=ROOT,
        timeout=60,
        check=False,
    ).returncode


def test_a_recorder_that_stands_still(system: System) -> None:
    """The web process goes on accepting, and says what is not consumed."""
    url = f"{system.url}/health/pipeline"
    wait_until(lambda: httpx.get(url).status_code == 200, "every role to be filled")
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        at_ms = processes.now_ms(client)
        (recorder,) = [  # it reports every 8 s, later on a busy machine
            each
            for each in processes.list_processes(client, at_ms)
            if processes.RECORDER in each.roles and each.silent_s(at_ms) <= processes.SILENT_S
        ]
    assert check_liveness(system, "record") == 0
    os.kill(recorder.pid, signal.SIGSTOP)
    try:
        stopped_s = time.monotonic()
        wait_until(lambda: httpx.get(url).status_code == 503, "a red answer", within_s=30)
        assert time.monotonic() - stopped_s < 30
        assert httpx.get(url).json()["detail"] == "record: no process runs"
        assert check_liveness(system, "record") == 1
        ready = httpx.get(f"{system.url}/ready")
        assert ready.json() == {"ok": True, "not_consumed": ["record: no process runs"]}
    finally:
        os.kill(recorder.pid, signal.SIGCONT)
    wait_until(lambda: httpx.get(url).status_code == 200, "a green answer")

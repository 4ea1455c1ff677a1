"""The token cache across processes: a single mint, and a second only when the holder dies."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import redis

from sandbox.redis import RedisServer
from tests.fixtures.waiting import least_s


def start_fleet(
    url: str, processes: int, threads: int, first_mint_s: float, lease_s: float
) -> subprocess.Popen[str]:
    numbers = [str(number) for number in (processes, threads, first_mint_s, lease_s)]
    command = [
        sys.executable,
        "-m",
        "tests.shared.tokens.token_program",
        url,
        "0000000000042",
        *numbers,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("redis_client")
def test_a_cold_fleet_mints_once(redis_server: RedisServer) -> None:
    """8 processes of 16 threads without a token: a single mint, and the same token 128 times."""
    with start_fleet(redis_server.url, 8, 16, first_mint_s=0.3, lease_s=9) as running:
        assert running.stdout
        lines = [json.loads(line) for line in running.stdout]
    got = [line["value"] for line in lines if line["what"] == "got"]
    assert len(got) == 128
    assert len(set(got)) == 1
    assert sum(line["what"] == "minting" for line in lines) == 1


def test_a_killed_holder_is_replaced_after_its_lease(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """After kill -9 of the holder: a second mint, and all callers are served within lease + 1 s."""
    lease_s = 2.0

    def measure() -> float:
        redis_client.flushall()
        return serve_without_holder(redis_server.url, lease_s)

    assert least_s(measure, lease_s + 1) < lease_s + 1


def serve_without_holder(url: str, lease_s: float) -> float:
    """Return after how many seconds the last caller is served once the holder is killed."""
    killed_at = 0.0
    lines = []
    with start_fleet(url, 4, 8, first_mint_s=60, lease_s=lease_s) as running:
        assert running.stdout
        for line in running.stdout:
            lines.append(json.loads(line))
            if lines[-1]["what"] == "minting" and not killed_at:
                os.kill(lines[-1]["pid"], signal.SIGKILL)
                killed_at = time.monotonic()
    got = [line for line in lines if line["what"] == "got"]
    assert len(got) == 24
    assert len({line["value"] for line in got}) == 1
    assert sum(line["what"] == "minting" for line in lines) == 2
    return float(max(line["at"] for line in got) - killed_at)

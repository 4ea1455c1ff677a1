"""Every process of the Procfile exits with 0, soon after SIGTERM, while it is idle."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from sandbox.ports import free_port
from sandbox.processes import responds_ok
from tests.fixtures.fleet import Fleet, SupervisedProcess, procfile_commands
from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until

PROCESSES = sorted(procfile_commands())
WITHIN_S = 10.0
"""A third of the stop_grace_period in docker-compose.yml."""


@pytest.fixture(scope="module")
def exits(
    system: System, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[int, float]]]:
    """Return {process: (exit code, seconds)} of processes that were stopped together while idle."""
    port = str(free_port())
    logs = tmp_path_factory.mktemp("exits")
    fleet = Fleet({**system.environment, "PORT": port}, logs, dict.fromkeys(PROCESSES, 1))
    redis_port = urlsplit(system.environment["REDIS_URL"]).port
    with fleet:
        wait_until(
            lambda: responds_ok(f"http://127.0.0.1:{port}/ready"), "the ingress", within_s=60
        )
        for service in fleet.processes:
            working = partial(_is_working, service, redis_port)
            wait_until(working, f"{service.name} at work", within_s=60)
        time.sleep(1)
        with ThreadPoolExecutor(len(PROCESSES)) as pool:
            yield dict(zip(PROCESSES, pool.map(_terminate, fleet.processes), strict=True))


def _is_working(service: SupervisedProcess, redis_port: int | None) -> bool:
    """Return whether a process is connected to Redis; of Dramatiq, whether its log says so."""
    if "dramatiq" in service.command:
        return "ready for action" in Path(service.log).read_text()
    if not service.alive:
        return False
    connections = psutil.Process(service.pid).net_connections()
    return any(found.raddr and found.raddr.port == redis_port for found in connections)


def _terminate(service: SupervisedProcess) -> tuple[int, float]:
    """Send SIGTERM; return the exit code and the seconds until the exit."""
    service.stay_down = True
    started = time.monotonic()
    return service.terminate(WITHIN_S * 3), time.monotonic() - started


@pytest.mark.parametrize("process", PROCESSES)
def test_an_idle_process_exits_with_0_on_sigterm(
    exits: dict[str, tuple[int, float]], process: str
) -> None:
    """Supervisors treat every code but 0 as a failure."""
    code, took_s = exits[process]
    assert code == 0
    assert took_s < WITHIN_S

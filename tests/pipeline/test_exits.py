"""Every process of the Procfile ends when it is told to: at once while it has nothing to do, and with 0."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
"""A third of what docker-compose.yml gives each of them."""


@pytest.fixture(scope="module")
def exits(
    system: System, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[int, float]]]:
    """Return {process: (exit code, seconds)} of one process each, told to stop while idle, all at once."""
    port, logs = str(free_port()), tmp_path_factory.mktemp("exits")
    fleet = Fleet({**system.environment, "PORT": port}, logs, dict.fromkeys(PROCESSES, 1))
    redis_port = urlsplit(system.environment["REDIS_URL"]).port
    with fleet:
        wait_until(lambda: responds_ok(f"http://127.0.0.1:{port}/ready"), "the door", within_s=60)
        for service in fleet.processes:
            wait_until(lambda: _works(service, redis_port), f"{service.name} at work", within_s=60)  # noqa: B023 - used at once
        time.sleep(1)
        with ThreadPoolExecutor(len(PROCESSES)) as pool:
            yield dict(zip(PROCESSES, pool.map(_ended, fleet.processes), strict=True))


def _works(service: SupervisedProcess, redis_port: int | None) -> bool:
    """Tell whether a process, or one that it has started, is connected to Redis; Dramatiq says so itself."""
    if "dramatiq" in service.command:
        return "ready for action" in Path(service.log).read_text()
    found = psutil.Process(service.pid).net_connections() if service.alive else []
    return any(each.raddr and each.raddr.port == redis_port for each in found)


def _ended(service: SupervisedProcess) -> tuple[int, float]:
    service.stay_down = True
    asked = time.monotonic()
    return service.terminate(WITHIN_S * 3), time.monotonic() - asked


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_told_to_stop_while_idle_exits_0(
    exits: dict[str, tuple[int, float]], process: str
) -> None:
    """Supervisors take anything else for a failure."""
    code, took_s = exits[process]
    assert code == 0
    assert took_s < WITHIN_S

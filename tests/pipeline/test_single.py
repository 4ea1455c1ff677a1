"""A small installation: two processes do what eight do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared import processes
from tests.fixtures.system import System, connect_integration, run_system
from tests.fixtures.waiting import wait_until


@pytest.fixture(scope="module")
def small_system(open_directory: Path) -> Iterator[System]:
    with run_system(open_directory / "single", procfile="deploy/Procfile.small") as running:
        yield running


def test_a_message_goes_out_and_is_read(small_system: System) -> None:
    """Connected, sent, delivered and read; each role is reported by a live process."""
    organization_id = small_system.add_organization()
    connect_integration(small_system, organization_id)
    with small_system.service_client(organization_id) as crm:
        message_id = crm.post("/v1/messages", json={"to": "79990001122", "text": "Hello"}).json()[
            "id"
        ]
        wait_until(
            lambda: crm.get(f"/v1/messages/{message_id}").json()["status"] == "read", "its ack"
        )
    with redis.Redis.from_url(small_system.environment["REDIS_URL"]) as client:
        assert processes.find_faults(client) == []
        running = processes.list_processes(client, processes.now_ms(client))
    assert len(running) == 2

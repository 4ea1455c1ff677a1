"""Fixtures of the fault tests: the environment, started once, and the Procfile's processes."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from sandbox.pipeline import ROOT
from tests.faults.environment import PLATFORM_DELAYS, ConnectedIntegration, FaultEnvironment
from tests.fixtures.fleet import Fleet
from tests.fixtures.waiting import wait_until

ORGANIZATIONS = 8
PrintProgress = Callable[[str], None]
StartFleet = Callable[..., Fleet]


@pytest.fixture
def print_progress(capsys: pytest.CaptureFixture[str]) -> PrintProgress:
    """Return a function that prints a line at once, with the seconds since the test began."""
    began = time.monotonic()

    def write(text: str) -> None:
        with capsys.disabled():
            seconds = time.monotonic() - began
            print(f"\n  {seconds:6.1f} s  {text}", end="", flush=True)  # noqa: T201 - its purpose

    return write


@pytest.fixture(scope="session")
def environment(
    open_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultEnvironment]:
    """Return the environment with a connected integration per organization."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in PLATFORM_DELAYS.items():
            patched.setenv(f"WPP_SANDBOX_{name}", value)
        patched.setenv("WPP_SANDBOX_SENT_WA_ID", "true")  # it names the person: proofs need that
        env = FaultEnvironment(open_directory / "faults", logs)
        with env.run():
            with Fleet(env.environment, logs / "connect"):
                wait_until_ready(env)
                with ThreadPoolExecutor(ORGANIZATIONS) as pool:
                    env.integrations = list(
                        pool.map(lambda _: connect_integration(env), range(ORGANIZATIONS))
                    )
            yield env


@pytest.fixture
def env(environment: FaultEnvironment) -> Iterator[FaultEnvironment]:
    """Return the environment without faults, and empty except for the integrations."""
    environment.reset()
    yield environment
    environment.gateway.rate = 0


@pytest.fixture
def start_fleet(env: FaultEnvironment, request: pytest.FixtureRequest) -> Iterator[StartFleet]:
    """Return a function that starts processes for this test: `start_fleet(settings, {"web": 1})`.

    It returns once the ingress is ready, if it is part of the fleet.
    """
    with ExitStack() as running:

        def start(
            settings: Mapping[str, str] | None = None,
            counts: Mapping[str, int] | None = None,
            root: Path = ROOT,
        ) -> Fleet:
            logs = env.logs / re.sub(r"\W+", "-", request.node.name)
            fleet = running.enter_context(
                Fleet(env.environment | dict(settings or {}), logs, counts, root)
            )
            if fleet.named("web"):
                wait_until_ready(env)
            return fleet

        yield start


def wait_until_ready(env: FaultEnvironment, within_s: float = 40) -> None:
    def check() -> bool:
        try:
            return env.http.get(f"{env.url}/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(check, "the ingress to be ready", within_s)


def connect_integration(env: FaultEnvironment) -> ConnectedIntegration:
    """Connect an integration of a new organization, as a person does: request it, scan the code."""
    organization_id = uuid4()
    env.add_organization(organization_id)
    with env.caller(organization_id) as crm:
        path = crm.post("/v1/integrations", json={}).raise_for_status().headers["Location"]

        def state(status: str) -> dict[str, Any] | None:
            answer = crm.get(path)
            if answer.status_code != 200 or answer.json()["status"] != status:
                return None
            found: dict[str, Any] = answer.json()
            return found

        pending = wait_until(lambda: state("qr_issued"), "a QR code")
        scan = f"{env.platform.url}/phone/{pending['account_number']}/scan"
        env.http.post(scan).raise_for_status()
        wait_until(lambda: state("connected"), "the integration to be connected")
    return ConnectedIntegration(
        organization_id, UUID(pending["integration_id"]), pending["account_number"]
    )

"""The fault tests' world: `town`, started once, and `start_fleet`, which runs the Procfile's processes for one test."""

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

from tests.faults.environment import PLATFORM_DELAYS, Number, Town
from tests.faults.fleet import Fleet

ORGANIZATIONS = 8
Say = Callable[[str], None]
StartFleet = Callable[..., Fleet]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a function that tells whoever runs the tests how far they are."""
    began = time.monotonic()

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {time.monotonic() - began:6.1f} s  {text}", end="", flush=True)  # noqa: T201 - what it is for

    return tell


@pytest.fixture(scope="session")
def world(open_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Return the outside world with its organizations' numbers connected."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in PLATFORM_DELAYS.items():
            patched.setenv(f"WPP_SANDBOX_{name}", value)
        town = Town(open_directory / "faults", logs)
        with town.running():
            with Fleet(town.environment, logs / "begin"):
                ready(town)
                with ThreadPoolExecutor(ORGANIZATIONS) as pool:
                    town.numbers = list(pool.map(lambda _: connect(town), range(ORGANIZATIONS)))
            yield town


@pytest.fixture
def town(world: Town) -> Iterator[Town]:
    """Return the world, healthy and empty but for its numbers."""
    world.begin_anew()
    yield world
    world.gateway.rate = 0


@pytest.fixture
def start_fleet(town: Town, request: pytest.FixtureRequest) -> Iterator[StartFleet]:
    """Return a function that starts processes for this test: `start_fleet(settings, {"web": 1, …})`.

    It returns once the door is open, if there is one.
    """
    with ExitStack() as running:

        def start(
            settings: Mapping[str, str] | None = None, counts: Mapping[str, int] | None = None
        ) -> Fleet:
            logs = town.logs / re.sub(r"\W+", "-", request.node.name)
            fleet = running.enter_context(
                Fleet(town.environment | dict(settings or {}), logs, counts)
            )
            if fleet.of("web"):
                ready(town)
            return fleet

        yield start


def until(check: Callable[[], Any], what: str, within_s: float = 20, pause_s: float = 0.05) -> Any:
    """Return the first true answer of `check`, or fail saying what was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        if found := check():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        time.sleep(pause_s)


def ready(town: Town) -> None:
    def check() -> bool:
        try:
            return town.http.get(f"{town.url}/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    until(check, "the door to open", within_s=40)


def connect(town: Town) -> Number:
    """Connect a number of a new organization, as a person does: click, scan."""
    organization_id = uuid4()
    town.organization(organization_id)
    with town.caller(organization_id) as crm:
        place = crm.post("/v1/integrations", json={}).raise_for_status().headers["Location"]

        def state(status: str) -> dict[str, Any] | None:
            found = crm.get(place)
            return (
                found.json()
                if found.status_code == 200 and found.json()["status"] == status
                else None
            )

        shown = until(lambda: state("qr_issued"), "a QR code")
        scan = f"{town.platform.url}/phone/{shown['account_number']}/scan"
        town.http.post(scan).raise_for_status()
        until(lambda: state("connected"), "the number to be connected")
    return Number(organization_id, UUID(shown["integration_id"]), shown["account_number"])

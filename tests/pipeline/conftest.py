"""The whole system as separate processes: the local world, and every line of the Procfile."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from sandbox.pipeline import Pipeline
from sandbox.services import Ports, World
from shared import signed_keys
from tests.conftest import TOOLS

QUICK = {  # the platform's delays, so that a test need not wait like a person
    "WPP_SANDBOX_STARTING_S": "0.3",
    "WPP_SANDBOX_SENT_S": "0.05",
    "WPP_SANDBOX_DELIVERED_S": "0.1",
    "WPP_SANDBOX_READ_S": "0.1",
}


@dataclass(frozen=True)
class Running:
    """Where everything is, and how to call it as an organization."""

    environment: dict[str, str]
    url: str
    log: Path
    database_url: str

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return tuple(secret.encode() for secret in self.environment["WPP_KEY_SECRETS"].split(","))

    def organization(self) -> UUID:
        """Make an organization of its own for a test."""
        organization_id = uuid4()
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "insert into public.organizations (id, name) values (%s, 'Test')",
                (organization_id,),
            )
        return organization_id

    def forget_token(self, integration_id: str) -> None:
        """Take the stored token away, as if its time were over."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "update public.messenger_integrations set settings = settings - 'wppJwtToken' where id = %s",
                (integration_id,),
            )

    def as_service(self, organization_id: UUID) -> httpx.Client:
        headers = {
            "Authorization": f"Bearer {signed_keys.make_service_key(organization_id, self.secrets)}"
        }
        return httpx.Client(base_url=self.url, headers=headers, timeout=10, trust_env=False)

    def phone(self) -> httpx.Client:
        return httpx.Client(base_url=self.environment["WPP_BASE_URL"], timeout=10, trust_env=False)

    def rows(self, table: str, **equal: str) -> list[dict[str, Any]]:
        """Read rows as the CRM's own back end does: over HTTP, with the service role's key."""
        key = self.environment["SUPABASE_SERVICE_ROLE_KEY"]
        found = httpx.get(
            f"{self.environment['SUPABASE_URL'].rstrip('/')}/rest/v1/{table}",
            params={name: f"eq.{value}" for name, value in equal.items()},
            headers={"apikey": key, "Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        found.raise_for_status()
        rows: list[dict[str, Any]] = found.json()
        return rows


def until(check: Callable[[], Any], what: str, within_s: float = 20) -> Any:
    """Return the first true answer of `check`, or fail saying what was waited for and what was there instead."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.05)


def texts_sent_to(running: Running, account: str, peer: str) -> list[str]:
    """Return what a recipient has got from a number, in order, as the platform's phone has it."""
    with running.phone() as phone:
        messages = phone.get(f"/phone/{account}/messages").json()["messages"]
    return [message["text"] for message in messages if message.get("to") == peer]


def connected_number(running: Running, organization_id: UUID) -> dict[str, Any]:
    """Connect a number as a person would: ask, see the code, scan it, be connected."""
    with running.as_service(organization_id) as crm, running.phone() as phone:
        asked = crm.post("/v1/integrations", json={})
        assert asked.status_code in {200, 202}, asked.text
        place = f"/v1/integrations/{asked.json()['integration_id']}"
        shown: dict[str, Any] = until(lambda: _with_code(crm.get(place).json()), "a QR code")
        phone.post(f"/phone/{shown['account_number']}/scan").raise_for_status()
        found: dict[str, Any] = until(lambda: _connected(crm.get(place).json()), "connected")
        return found


def _with_code(state: dict[str, Any]) -> dict[str, Any] | None:
    return state if state["qrcode"] and state["status"] == "qr_issued" else None


def _connected(state: dict[str, Any]) -> dict[str, Any] | None:
    return state if state["status"] == "connected" else None


@pytest.fixture(scope="session")
def running(open_directory: Path) -> Iterator[Running]:
    """Return the whole system, started once for the session as `make up` starts it, on free ports."""
    directory = open_directory / "pipeline"
    with pytest.MonkeyPatch.context() as patched:
        for name, value in QUICK.items():
            patched.setenv(name, value)
        world = World(directory, ports=Ports.free(), environment={}, tools=TOOLS, durable=False)
        with world as environment, Pipeline(environment, directory / "pipeline.log") as pipeline:
            assert world.database_url
            yield Running(environment, pipeline.url, directory / "pipeline.log", world.database_url)


@pytest.fixture(scope="session")
def number(running: Running) -> tuple[UUID, dict[str, Any]]:
    """Return an organization and its connected number."""
    organization_id = running.organization()
    return organization_id, connected_number(running, organization_id)

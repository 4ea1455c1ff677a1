"""The servers of the fault tests: Redis, Supabase behind a faulty gateway, the platform."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import redis

from sandbox.platform.process import PlatformProcess
from sandbox.ports import LOCALHOST, free_port
from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from tests.conftest import TOOLS
from tests.faults.gateway import FaultyGateway
from tests.fixtures.service_keys import copy_key, store_key

KEY_SECRET = "a secret of the fault tests that is long enough"
PLATFORM_SECRET = "the platform's server-to-server secret"
PLATFORM_DELAYS = {"STARTING_S": "0.1", "SENT_S": "0.05", "DELIVERED_S": "0.1", "READ_S": "0.1"}


@dataclass(frozen=True)
class ConnectedIntegration:
    """A connected integration of an organization."""

    organization_id: UUID
    integration_id: UUID
    account: str


class FaultEnvironment:
    """Every server that the pipeline talks to.

    Data goes to `directory`, the logs of the pipeline's processes go to `logs`.
    """

    def __init__(self, directory: Path, logs: Path) -> None:
        self.directory = directory
        self.logs = logs
        self.http = httpx.Client(timeout=30, trust_env=False)
        self.redis = RedisServer(directory / "redis")
        self.supabase = Supabase(directory / "supabase", tools=TOOLS, durable=False)
        self.platform_port = free_port()
        self.platform = PlatformProcess(directory / "platform", self.platform_port, PLATFORM_SECRET)
        self.gateway = FaultyGateway(self.supabase.ports.gateway)
        self.web_port = free_port()
        self.url = f"http://{LOCALHOST}:{self.web_port}"
        self.client = redis.Redis.from_url(self.redis.url)
        self.integrations: list[ConnectedIntegration] = []
        self._keys: dict[UUID, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the pipeline's processes."""
        return {
            "REDIS_URL": self.redis.url,
            "SUPABASE_URL": self.gateway.url,
            "SUPABASE_ANON_KEY": self.supabase.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.supabase.service_role_key,
            "WPP_BASE_URL": self.platform.url,
            "WPP_SECRET": PLATFORM_SECRET,
            "WPP_KEY_SECRETS": KEY_SECRET,
            "WPP_PUBLIC_URL": self.url,
            "PORT": str(self.web_port),
        }

    def caller(self, organization_id: UUID, timeout_s: float = 10) -> httpx.Client:
        """Return a client with the service key of an organization."""
        headers = {"Authorization": f"Bearer {self.service_key(organization_id)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)

    def service_key(self, organization_id: UUID) -> str:
        """Return the service key of an organization, which is in use: Redis has its copy."""
        if organization_id not in self._keys:
            self._keys[organization_id] = store_key(self.supabase.database_url, organization_id)
        key = self._keys[organization_id]
        with suppress(redis.RedisError):
            copy_key(self.client, organization_id, key)
        return key

    def add_organization(self, organization_id: UUID) -> None:
        with psycopg.connect(self.supabase.database_url) as connection:
            connection.execute(
                "insert into public.organizations (id, name) values (%s, 'Test')",
                (organization_id,),
            )

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.supabase.database_url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def fail(self, **plan: Any) -> None:
        """Set the platform's faults (fields of `FaultPlan`); without arguments, end them."""
        self.http.post(f"{self.platform.url}/admin/faults", json=plan).raise_for_status()

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that the platform accepted, in its order."""
        return list(self.ledger()["messages"])

    def ledger(self) -> dict[str, Any]:
        answer = self.http.get(f"{self.platform.url}/admin/ledger")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def reset(self) -> None:
        """End all faults and delete what the last test left, except the integrations."""
        self.gateway.rate = 0
        self.fail()
        # Acks that nobody took are tried again for hours, each before those of the next test.
        for left in ("webhooks", "ledger"):
            self.http.delete(f"{self.platform.url}/admin/{left}").raise_for_status()
        self.client.flushall(asynchronous=True)  # 100,000 lanes take seconds otherwise
        with psycopg.connect(self.supabase.database_url) as connection:
            connection.execute("delete from public.wpp_dead_letters")
            connection.execute("delete from wpp.set_aside_outcomes")

    @contextmanager
    def run(self) -> Iterator[None]:
        """Start the servers and stop them at the end of the block."""
        with ExitStack() as undo:
            undo.callback(self.client.close)
            undo.callback(self.http.close)
            for part in (self.redis, self.platform):
                undo.callback(part.stop)
                part.launch()
            undo.callback(shutil.rmtree, self.directory / "supabase", ignore_errors=True)
            undo.callback(self.supabase.stop)
            self.supabase.start()
            undo.enter_context(self.gateway)
            self.redis.wait()
            self.platform.wait()
            yield


def short_timeouts(**more: str) -> Mapping[str, str]:
    """Return engine settings in seconds, so that deadlines and leases end soon."""
    return {"WPP_HTTP_DEADLINE_S": "2", "WPP_LEASE_S": "4"} | more

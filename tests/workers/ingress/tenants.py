"""An organization with integrations in Supabase and an HTTP client of the ingress."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import redis
from pydantic import SecretStr

from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.events import QueueName, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence, Settled
from shared.outcomes import SessionOutcome, SessionStatus
from shared.redis import keys
from shared.settings import EngineSettings, SupabaseSettings
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.service_keys import store_key


@contextmanager
def database(world: Supabase) -> Iterator[Database]:
    settings = SupabaseSettings.model_validate(
        {
            "supabase_url": world.url,
            "supabase_anon_key": world.anon_key,
            "supabase_service_role_key": world.service_role_key,
        }
    )
    with httpx.Client(trust_env=False) as http:
        yield Database(settings, http)


@dataclass(frozen=True)
class Tenant:
    """An organization. `http` calls the ingress as its service."""

    id: UUID
    http: httpx.Client
    database: Database
    client: "redis.Redis"

    @classmethod
    @contextmanager
    def new(
        cls, ingress: IngressProcess, world: Supabase, client: "redis.Redis"
    ) -> Iterator["Tenant"]:
        organization_id = uuid4()
        with psycopg.connect(world.database_url) as connection:
            connection.execute(
                "insert into public.organizations (id, name) values (%s, 'Test')",
                (organization_id,),
            )
        key = store_key(world.database_url, organization_id)
        bearer = {"Authorization": f"Bearer {key}"}
        with (
            httpx.Client(base_url=ingress.url, headers=bearer, timeout=10, trust_env=False) as http,
            database(world) as opened,
        ):
            yield cls(organization_id, http, opened, client)

    def add_integration(self, account: str, status: SessionStatus = "connected") -> str:
        """Save an integration of this organization in `status`; return its path."""
        integration_id = uuid4()
        self.database.integrations.save(
            integration_id=integration_id,
            organization_id=self.id,
            account=account,
            api_key=SecretStr("key"),
        )
        self.set_status(account, status)
        return f"/v1/integrations/{integration_id}"

    def set_status(
        self, account: str, status: SessionStatus, reason: str = "the test says so", **more: str
    ) -> None:
        outcome = SessionOutcome(
            at=utc_now(), account=account, status=status, reason=reason, **more
        )
        self.database.outcomes.apply([outcome.model_dump(mode="json", exclude_none=True)])

    def post(self, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        return self.http.post(
            path, json=body, headers={} if key is None else {"Idempotency-Key": key}
        )

    def settle_next(self, kind: QueueName, settled: Settled) -> UUID:
        """Settle the next waiting event of a kind; return its id."""
        lanes = Lanes(self.client, EngineSettings())
        claim = lanes.claim(kind, ClaimSequence())
        assert claim, f"no {kind} waits"
        assert lanes.conclude(claim, settled)[0]
        return claim.id

    def count_waiting(self, kind: QueueName) -> int:
        """Return how many events of a kind are not settled."""
        counts: Any = self.client.hvals(keys.waiting(kind))
        return sum(map(int, counts))

    def find_pairing_event(self, path: str) -> str:
        """Return the id of the event that polls for the scan of an integration."""
        found: Any = self.client.get(keys.pairing(UUID(path.rsplit("/", 1)[-1])))
        return str(found.decode())

"""A provisioning worker inside a test: real Redis, Supabase and platform, and a wire that can be cut at any call."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import redis
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import HttpUrl, SecretStr

from sandbox.platform.server import PlatformServer
from sandbox.supabase.project import Supabase
from shared import routing
from shared.database import Database
from shared.events import ProvisionEvent
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimResult, ClaimSequence, Postponed
from shared.platform import Platform
from shared.platform.circuit_breaker import CircuitBreaker
from shared.redis import keys
from shared.route_cache import RouteCache
from shared.settings import EngineSettings, KeySettings, PlatformSettings, SupabaseSettings
from shared.tokens import TokenCache
from tests.conftest import PLATFORM_SECRET
from tests.draining import parse_first
from workers.context import WorkerContext
from workers.provision import handler as provision

KEYS = KeySettings(
    wpp_key_secrets=(SecretStr("k" * 32),), wpp_public_url=HttpUrl("http://127.0.0.1:1")
)
GIVE_UP_S = 20.0


class KilledError(BaseException):
    """The process ends here. No handler of ours catches it."""


@dataclass
class Scissors:
    """Cuts the wire at call number `at`, or at the first one to `at_first`, before the other side has it or after."""

    at: int = -1
    after: bool = False
    at_first: str | None = None
    calls: list[str] = field(default_factory=list)

    def wrap(self, wire: httpx.BaseTransport) -> "Wire":
        return Wire(wire, self)


class Wire(httpx.BaseTransport):
    def __init__(self, wire: httpx.BaseTransport, scissors: Scissors) -> None:
        self._wire, self._scissors = wire, scissors

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(
            "/wpp_save_token"
        ):  # a thread of its own does that, whatever becomes of us
            return self._wire.handle_request(request)
        mine = (
            len(self._scissors.calls) == self._scissors.at
            or request.url.path == self._scissors.at_first
        )
        self._scissors.calls.append(f"{request.method} {request.url.path}")
        if mine and not self._scissors.after:
            raise KilledError
        response = self._wire.handle_request(request)
        if mine:
            response.read()
            response.close()
            raise KilledError
        return response

    def close(self) -> None:
        self._wire.close()


@dataclass
class Shop:
    """Everything that one worker works with, and a view of both sides."""

    client: redis.Redis
    supabase: Supabase
    platform: PlatformServer
    engine: EngineSettings = field(default_factory=EngineSettings)

    @contextmanager
    def worker(self, scissors: Scissors | None = None) -> Iterator[WorkerContext]:
        """Open what a worker process has; it lasts as long as that process."""
        wire = scissors or Scissors()
        supabase = supabase_settings(self.supabase)
        with open_worker(
            self.client, supabase, self.platform.url, self.engine, wire.wrap
        ) as services:
            yield services

    def organization(self) -> UUID:
        organization_id = uuid4()
        self.sql("insert into organizations (id, name) values (%s, 'School')", organization_id)
        return organization_id

    def ask(
        self, organization_id: UUID, integration_id: UUID | None = None, **given: Any
    ) -> ProvisionEvent:
        """Put a wish into its lane: the birth of a number unless it says otherwise."""
        integration_id = integration_id or uuid4()
        event = ProvisionEvent(
            **{
                "id": integration_id,
                "organization_id": organization_id,
                "integration_id": integration_id,
            }
            | given
        )
        Lanes(self.client, self.engine).append(routing.route_provision(event))
        return event

    def sql(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.supabase.database_url, row_factory=dict_row) as connection:
            cursor = connection.execute(query.encode(), arguments)
            return cursor.fetchall() if cursor.description else []

    def rows(self, organization_id: UUID) -> list[dict[str, Any]]:
        return self.sql(
            "select *, settings ->> 'wppAccountNumber' as account from messenger_integrations "
            "where organization_id = %s order by is_primary desc, created_at",
            organization_id,
        )

    def record(self, ctx: WorkerContext) -> None:
        """Do what the recorder does: carry the outbox to Supabase."""
        entries: Any = self.client.xrange(keys.OUTBOX)
        batch = [fields[b"r"].decode() for _, fields in entries]
        if batch:
            self.sql("select wpp_apply(%s)", Jsonb(batch, dumps=lambda rows: f"[{','.join(rows)}]"))
            self.client.xdel(keys.OUTBOX, *[entry_id for entry_id, _ in entries])
        del ctx

    def accounts(self, organization_id: UUID) -> list[dict[str, Any]]:
        """Return the platform's accounts of an organization, its further numbers included."""
        answer = httpx.get(f"{self.platform.url}/phone", headers={"Accept": "application/json"})
        found: list[dict[str, Any]] = answer.json()["accounts"]
        return [each for each in found if each["organization_id"].startswith(str(organization_id))]

    def created(self) -> dict[str, dict[str, int]]:
        """Return the platform's ledger of clients: {organization id: {"created": n, "handed back": n}}."""
        clients: dict[str, dict[str, int]] = httpx.get(f"{self.platform.url}/admin/ledger").json()[
            "clients"
        ]
        return clients

    def scan(self, account: str) -> None:
        wait_for(lambda: httpx.post(f"{self.platform.url}/phone/{account}/scan").is_success)

    def faults(self, **plan: Any) -> None:
        httpx.post(f"{self.platform.url}/admin/faults", json=plan).raise_for_status()


@contextmanager
def open_worker(
    client: redis.Redis,
    supabase: SupabaseSettings,
    platform_url: str,
    engine: EngineSettings,
    wrap: Callable[[httpx.BaseTransport], httpx.BaseTransport],
) -> Iterator[WorkerContext]:
    """Put a worker's services together, each call to another system going through what `wrap` makes of its wire."""
    with httpx.Client(transport=wrap(httpx.HTTPTransport()), timeout=15) as http:
        database = Database(supabase, http)
        breaker = CircuitBreaker(client, platform_url)
        platform = Platform(
            PlatformSettings(
                wpp_base_url=HttpUrl(platform_url), wpp_secret=SecretStr(PLATFORM_SECRET)
            ),
            breaker=breaker,
            transport=wrap(httpx.HTTPTransport()),
        )
        tokens = TokenCache(client, platform.mint_token, database.tokens)
        lanes, route_cache = Lanes(client, engine), RouteCache(client, database)
        with platform:
            yield WorkerContext(
                engine, KEYS, client, lanes, database, route_cache, platform, tokens, breaker
            )
            tokens.flush()


def supabase_settings(project: Supabase) -> SupabaseSettings:
    return SupabaseSettings(
        supabase_url=HttpUrl(project.url),
        supabase_anon_key=SecretStr(project.anon_key),
        supabase_service_role_key=SecretStr(project.service_role_key),
    )


def one(ctx: WorkerContext) -> tuple[Claim, ClaimResult] | None:
    """Handle the next ready event, and conclude it."""
    slot = ClaimSequence()
    claim = ctx.lanes.claim("provision", slot)
    if claim is None:
        return None
    verdict = parse_first(ProvisionEvent, provision.handle_provision)(claim, ctx)
    ctx.lanes.conclude(claim, verdict)
    return claim, verdict


def killed(ctx: WorkerContext) -> bool:
    """Handle the next event by a worker that dies at the cut; the clock gives its claim back. False: it lived."""
    claim = ctx.lanes.claim("provision", ClaimSequence())
    assert claim
    try:
        verdict = parse_first(ProvisionEvent, provision.handle_provision)(claim, ctx)
    except KilledError:
        ctx.lanes.conclude(claim, Postponed(0, "its worker stopped"))
        return True
    ctx.lanes.conclude(claim, verdict)
    return False


def work(ctx: WorkerContext, until: Callable[[], bool]) -> None:
    """Handle what is ready, and what falls due, until `until`."""

    def step() -> bool:
        for claim in ctx.lanes.sweep("provision").expired_claims:
            ctx.lanes.conclude(claim, Postponed(0, "its worker stopped"))
        while one(ctx):
            pass
        return until()

    wait_for(step)


def wait_for(check: Callable[[], Any], within_s: float = GIVE_UP_S) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)

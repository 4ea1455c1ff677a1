"""The ingress processes of these tests, each started once per session."""

from collections.abc import Iterator
from functools import partial

import pytest
import redis
from cachetools import TTLCache

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from tests.conftest import run_redis
from tests.fixtures.ingress_process import SHARED_SECRET, IngressProcess, restore_secret
from tests.workers.ingress.clocks import ManualClock
from tests.workers.ingress.tenants import Tenant
from workers.ingress import lookups


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Return a Redis of these tests alone.

    The ingress processes run on after a test and report to it, where other tests count commands.
    """
    with run_redis() as server:
        yield server


@pytest.fixture
def redis_client(redis_client: redis.Redis) -> redis.Redis:
    """Return the client of a Redis that holds the secret of message ids alone."""
    restore_secret(redis_client)
    return redis_client


@pytest.fixture(scope="session")
def _ingress(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    settings = {"WPP_WEBHOOK_SECRET": SHARED_SECRET}
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("ingress"), **settings
    ) as ingress:
        yield ingress


@pytest.fixture
def ingress(_ingress: IngressProcess, redis_client: redis.Redis) -> IngressProcess:
    """Return the ingress, with an empty Redis."""
    del redis_client  # asked for because it empties Redis
    return _ingress


@pytest.fixture(scope="session")
def impatient_ingress(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    """Return an ingress that rejects a body which pauses for a second, as the machine may, too."""
    directory = tmp_path_factory.mktemp("impatient")
    with IngressProcess(redis_server.url, directory, WPP_BODY_STALL_S="1") as ingress:
        yield ingress


@pytest.fixture(scope="session")
def small_ingress(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    """Return an ingress with a body limit of 100 kB and 2 s, and without a shared secret."""
    settings = {"WPP_BODY_LIMIT": "100000", "WPP_BODY_DEADLINE_S": "2"}
    with IngressProcess(redis_server.url, tmp_path_factory.mktemp("small"), **settings) as ingress:
        yield ingress


@pytest.fixture(scope="session")
def _ingress_with_supabase(
    redis_server: RedisServer, supabase_world: Supabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
    }
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("supabase"), **settings
    ) as ingress:
        yield ingress


@pytest.fixture
def ingress_with_supabase(
    _ingress_with_supabase: IngressProcess, redis_client: redis.Redis, database_url: str
) -> IngressProcess:
    """Return an ingress with Supabase, both empty. No worker runs, so accepted events wait."""
    del database_url, redis_client  # asked for because they empty tables and Redis
    return _ingress_with_supabase


@pytest.fixture
def tenant(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase, redis_client: redis.Redis
) -> Iterator[Tenant]:
    """Return an organization of the ingress with Supabase."""
    with Tenant.new(ingress_with_supabase, supabase_world, redis_client) as tenant:
        yield tenant


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Return the clock of the look-ups that a test makes: what they remember ends by it alone."""
    clock = ManualClock()
    monkeypatch.setattr(lookups, "TTLCache", partial(TTLCache, timer=clock))
    return clock

"""The ingress processes of these tests, each started once per session."""

from collections.abc import Iterator

import pytest
import redis

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.redis import keys
from tests.fixtures.ingress_process import SHARED_SECRET, IngressProcess
from tests.workers.ingress.tenants import Tenant

EVENT_ID_SECRET = "the secret of message ids, longer than the tests"


def restore_secret(client: redis.Redis) -> None:
    """Put back the secret that an ingress read at its start, and that an emptied Redis lacks."""
    client.set(keys.EVENT_ID_SECRET, EVENT_ID_SECRET)


@pytest.fixture(scope="session")
def _ingress(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    settings = {"WPP_WEBHOOK_SECRET": SHARED_SECRET, "WPP_BODY_STALL_S": "1"}
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("ingress"), **settings
    ) as ingress:
        yield ingress


@pytest.fixture
def ingress(_ingress: IngressProcess, redis_client: redis.Redis) -> IngressProcess:
    """Return the ingress, with an empty Redis. It rejects a body that pauses for a second."""
    del redis_client  # asked for because it empties Redis
    return _ingress


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
    with redis.Redis.from_url(redis_server.url) as client:
        restore_secret(client)
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("supabase"), **settings
    ) as ingress:
        yield ingress


@pytest.fixture
def ingress_with_supabase(
    _ingress_with_supabase: IngressProcess, redis_client: redis.Redis, database_url: str
) -> IngressProcess:
    """Return an ingress with Supabase, both empty. No worker runs, so accepted events wait."""
    del database_url  # asked for because it empties the tables
    restore_secret(redis_client)
    return _ingress_with_supabase


@pytest.fixture
def tenant(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase, redis_client: redis.Redis
) -> Iterator[Tenant]:
    """Return an organization of the ingress with Supabase."""
    with Tenant.new(ingress_with_supabase, supabase_world, redis_client) as tenant:
        yield tenant

"""Real parts that every test may use, started once for the session and only when asked for.

`redis_server`     the redis-server process (`RedisServer`: url, port, stop, kill, start); leave it running
`redis_client`     a `redis.Redis` (bytes in, bytes out) on it, empty at the start of each test
`supabase_world`   the Supabase project (`Supabase`: url, anon_key, service_role_key, postgres), our migrations applied
`database_url`     its Postgres, as role `postgres`; every table empty at the start of the test
`service_client`   a `supabase.Client` with the service role's key, on empty tables
`platform`         the played platform, quick and forgetful (`PlatformServer`: url); its WPP_SECRET is `PLATFORM_SECRET`
`make_client`      makes further clients, for signing users in: `make_client()` is anonymous, `make_client(key)` is not
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
import supabase

from sandbox.platform.server import PlatformServer
from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase

TESTS = Path(__file__).parent
TOOLS = TESTS.parent / ".local" / "tools"
PLATFORM_SECRET = "the platform's server-to-server secret"
SHORT_DELAYS: dict[str, Any] = {
    "starting_s": 0.01,
    "sent_s": 0.01,
    "delivered_s": 0.01,
    "read_s": 0.01,
    "webhook_backoff_s": 0.02,
}
TIMEOUT = httpx.Timeout(20, connect=5)
EMPTY_ALL = """
    set session_replication_role = replica;  -- no foreign keys, no triggers: a tenth of the time of truncate
    do $$
    declare
      held regclass;
      has_rows boolean;
    begin
      for held in
        select format('%I.%I', schemaname, tablename) from pg_tables
        where schemaname in ('public', 'wpp', 'auth', 'storage')
          and tablename not in ('buckets', 'dialing_rules')
      loop
        execute format('select exists (select from %s)', held) into has_rows;
        if has_rows then execute format('delete from %s', held); end if;
      end loop;
    end $$
"""
MakeClient = Callable[..., supabase.Client]
WHOLE_SYSTEM = ("browser", "pipeline")
"""Folders whose tests run every process of the system, started once."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for `pytest -n`: by file, and all tests of the whole system in one process."""
    for item in items:
        file = item.path.relative_to(TESTS)
        group = "system" if file.parts[0] in WHOLE_SYSTEM else str(file)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return the session's durable redis-server. A test that stops or kills it starts it again."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return a client of the session's Redis, which is empty."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """Return a folder that Postgres may enter when root runs the tests: pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="wpp-tests-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        shutil.rmtree(directory / "postgres", ignore_errors=True)


@pytest.fixture(scope="session")
def supabase_world(open_directory: Path) -> Iterator[Supabase]:
    """Return the session's Supabase project. A test that kills its Postgres starts it again."""
    with Supabase(open_directory, tools=TOOLS, durable=False) as project:
        yield project


@pytest.fixture(scope="session")
def own_buckets(supabase_world: Supabase) -> list[str]:
    """Return the buckets that the migrations made: they stay."""
    with psycopg.connect(supabase_world.database_url) as connection:
        return [name for (name,) in connection.execute("select id from storage.buckets")]


@pytest.fixture
def database_url(supabase_world: Supabase, own_buckets: list[str]) -> str:
    """Return the address of the session's Postgres (role `postgres`), all tables empty."""
    with psycopg.connect(supabase_world.postgres.admin_url, autocommit=True) as connection:
        connection.execute(EMPTY_ALL)
        connection.execute("delete from storage.buckets where id <> all(%s)", (own_buckets,))
    return supabase_world.database_url


@pytest.fixture
def make_client(supabase_world: Supabase, database_url: str) -> Iterator[MakeClient]:
    """Return a function that makes a client of the project: anonymous, or with the key given."""
    del database_url  # asked for because it empties the tables
    opened: list[httpx.Client] = []

    def make(key: str | None = None) -> supabase.Client:
        opened.append(httpx.Client(http2=False, timeout=TIMEOUT))
        options = supabase.ClientOptions(
            httpx_client=opened[-1],
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
        )
        return supabase.create_client(supabase_world.url, key or supabase_world.anon_key, options)

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def service_client(supabase_world: Supabase, make_client: MakeClient) -> supabase.Client:
    """Return a client that may do everything, on empty tables."""
    return make_client(supabase_world.service_role_key)


@pytest.fixture
def platform() -> Iterator[PlatformServer]:
    """Return a platform of the test's own, new: in a thread, on a port of its own."""
    with PlatformServer(secret=PLATFORM_SECRET, **SHORT_DELAYS) as server:
        yield server

"""Fixtures for every test: real servers, started once per test process when a test asks for them.

`redis_server`    the redis-server process (`RedisServer`); leave it running
`redis_client`    a `redis.Redis` (bytes in, bytes out) on it, empty at the start of each test
`supabase_world`  the Supabase project (`Supabase`) with the migrations applied
`database_url`    its Postgres, as role `postgres`; every table is empty at the start of the test
`service_client`  a `supabase.Client` with the service role's key, on empty tables
`make_client`     makes more clients: `make_client()` is anonymous, `make_client(key)` has a key
`platform`        a new platform's sandbox (`PlatformServer`) with short delays; its WPP_SECRET is
                  `PLATFORM_SECRET`

With `pytest -n`, each process has its own servers on ports of its own. Helpers that several test
packages use are in `tests/fixtures`.
"""

import os
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import httpx
import psycopg
import pytest
import redis
import supabase
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from sandbox import ports
from sandbox.platform.server import PlatformServer
from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.stop_signals import accept_interrupts

pytest_plugins = ["tests.fixtures.two_redis"]
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a pause of the machine is no fault of an example
settings.load_profile("tests")
accept_interrupts()  # `make test &` in a script ignores SIGINT, also for what the tests start

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
    set session_replication_role = replica;  -- no foreign keys, no triggers: a tenth of the time
    do $$
    declare
      name regclass;
      has_rows boolean;
    begin
      for name in
        select format('%I.%I', schemaname, tablename) from pg_tables
        where schemaname in ('public', 'wpp', 'auth', 'storage')
          and tablename not in ('buckets', 'dialing_rules', 'numbering_changes')
      loop
        execute format('select exists (select from %s)', name) into has_rows;
        if has_rows then execute format('delete from %s', name); end if;
      end loop;
    end $$
"""
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made in it has a random name
MEMORY_NEEDED = 4 * 2**30
MakeClient = Callable[..., supabase.Client]
WHOLE_SYSTEM = {("browser",), ("pipeline",), ("pipeline", "functions")}
"""Folders of tests that run every process of the system, started once."""


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Runs a file in a single process, and what starts the whole system in a single process.

    xdist's own groups do nothing with pytest 9.2: https://github.com/pytest-dev/pytest-xdist/issues/1386
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = Path(file).parent.parts[1:]
        return "system" if folder in WHOLE_SYSTEM else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling:
    """Return how `pytest -n` spreads the tests."""
    return FileScheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of `pytest -n` ports of its own."""
    worker = getattr(config, "workerinput", None)
    if worker:
        ports.use_part(int(worker["workerid"].removeprefix("gw")), worker["workercount"])


@pytest.fixture(scope="session", autouse=True)
def _shared_tls_context() -> Iterator[None]:
    """Load the certificate authorities once per process.

    Each httpx client loads them otherwise: 50 ms of CPU, most of the time of many tests.
    """
    create = ssl.create_default_context
    shared_context = cache(create)
    authorities = (certifi.where(), os.environ.get("SSL_CERT_FILE"))

    def create_default_context(*args: Any, **options: Any) -> ssl.SSLContext:
        shared = not args and options.keys() == {"cafile"} and options["cafile"] in authorities
        return (shared_context if shared else create)(*args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssl, "create_default_context", create_default_context)
        yield


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Return the durable redis-server. A test that stops or kills it starts it again."""
    with run_redis() as server:
        yield server


@contextmanager
def run_redis() -> Iterator[RedisServer]:
    """Run a durable redis-server.

    Its data is in memory where the machine has room for it: a disk takes milliseconds to confirm
    each write. That survives a killed server all the same.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    with (
        tempfile.TemporaryDirectory(prefix="wpp-tests-", dir=MEMORY if roomy else None) as name,
        RedisServer(Path(name)) as server,
    ):
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return a client of the empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        if client.dbsize():
            client.flushall()
        yield client


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """Return a folder that Postgres can enter when root runs the tests, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="wpp-tests-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        shutil.rmtree(directory / "postgres", ignore_errors=True)


@pytest.fixture(scope="session")
def supabase_world(open_directory: Path) -> Iterator[Supabase]:
    """Return the Supabase project. A test that kills its Postgres starts it again."""
    with Supabase(open_directory, tools=TOOLS, durable=False) as project:
        yield project


@pytest.fixture(scope="session")
def _empty_tables(supabase_world: Supabase) -> Iterator[Callable[[], None]]:
    """Return a function that empties every table; buckets that the migrations made stay."""
    url = supabase_world.postgres.admin_url
    connection = psycopg.connect(url, autocommit=True)
    buckets = [name for (name,) in connection.execute("select id from storage.buckets")]

    def empty() -> None:
        nonlocal connection
        for attempt in range(2):
            try:
                connection.execute(EMPTY_ALL)
                connection.execute("delete from storage.buckets where id <> all(%s)", (buckets,))
            except psycopg.OperationalError:  # a test has killed Postgres
                if attempt:
                    raise
                connection.close()
                connection = psycopg.connect(url, autocommit=True)
            else:
                return

    yield empty
    with suppress(psycopg.OperationalError):
        connection.close()


@pytest.fixture
def database_url(supabase_world: Supabase, _empty_tables: Callable[[], None]) -> str:
    """Return the address of Postgres (role `postgres`), all tables empty."""
    _empty_tables()
    return supabase_world.database_url


@pytest.fixture
def make_client(supabase_world: Supabase, database_url: str) -> Iterator[MakeClient]:
    """Return a function that makes a client of the project: anonymous, or with a given key."""
    del database_url  # requested because it empties the tables
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
    """Return a client with the service role's key, on empty tables."""
    return make_client(supabase_world.service_role_key)


@pytest.fixture
def platform() -> Iterator[PlatformServer]:
    """Return a new platform's sandbox in a thread, on a port of its own."""
    with PlatformServer(secret=PLATFORM_SECRET, **SHORT_DELAYS) as server:
        yield server

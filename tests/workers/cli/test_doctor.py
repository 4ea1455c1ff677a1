"""`wpp doctor` names what is broken, and no consequence of it, with what to do."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

import psycopg
import pytest
import redis
from pydantic import HttpUrl, SecretStr
from typer.testing import CliRunner

from sandbox.platform.server import PlatformServer
from sandbox.redis import RedisServer
from sandbox.supabase.project import MIGRATIONS, Supabase
from shared.platform import Platform
from shared.processes import CONSUMERS, RunningProcess
from shared.redis import keys
from shared.settings import PlatformSettings
from tests.conftest import PLATFORM_SECRET
from tests.fixtures.ingress_process import KEY_SECRET, IngressProcess
from tests.fixtures.waiting import wait_until
from workers.cli.app import app
from workers.cli.checks import run_checks
from workers.cli.redis_checks import compare_clocks
from workers.pulse import Pulse

NOWHERE = "http://127.0.0.1:9"
ROLES = CONSUMERS
RELOAD = "notify pgrst, 'reload schema'"
NEWEST = max(path.name for path in MIGRATIONS.glob("*.sql"))


class OtherServer(BaseHTTPRequestHandler):
    """A page of its own at every address; below /slow, a byte of it now and then."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>Welcome to nginx!</title>")
        while self.path.startswith("/slow"):
            self.wfile.write(b".")
            time.sleep(0.1)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002
        """Write nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


@pytest.fixture(scope="module")
def other_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherServer) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def ingress(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    with IngressProcess(redis_server.url, tmp_path_factory.mktemp("doctor")) as running:
        yield running


@dataclass
class World:
    """An installation without a fault, and the ways to break it for the time of a block."""

    patched: pytest.MonkeyPatch
    redis: "redis.Redis"
    redis_url: str
    supabase: Supabase
    account: str
    other_url: str

    @property
    def redis_port(self) -> str:
        return self.redis_url.removesuffix("/0").rpartition(":")[2]

    @contextmanager
    def settings(self, **values: str | None) -> Iterator[None]:
        """Change settings; the fixture takes them back."""
        for name, value in values.items():
            if value is None:
                self.patched.delenv(name)
            else:
                self.patched.setenv(name, value.format(world=self))
        yield

    @contextmanager
    def schema(self, change: str, undo: str) -> Iterator[None]:
        url = self.supabase.postgres.admin_url
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(change.encode())
            connection.execute(RELOAD)
            try:
                yield
            finally:
                connection.execute(undo.encode())
                connection.execute(RELOAD)

    @contextmanager
    def config(self, name: str, value: str) -> Iterator[None]:
        before = str(self.redis.config_get(name)[name])
        self.redis.config_set(name, value)
        try:
            yield
        finally:
            self.redis.config_set(name, before)

    @contextmanager
    def limited_user(self) -> Iterator[None]:
        user = ("ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all", "-eval", "-lmove")
        self.redis.execute_command(*user)
        self.patched.setenv("REDIS_URL", self.redis_url.replace("//", "//limited:word@"))
        try:
            yield
        finally:
            self.redis.execute_command("ACL", "DELUSER", "limited")

    @contextmanager
    def another_redis(self) -> Iterator[None]:
        """Use another database of the server than the ingress does."""
        url = self.redis_url.removesuffix("/0") + "/1"
        with redis.Redis.from_url(url) as other:
            Pulse(other, ROLES).report()
            self.patched.setenv("REDIS_URL", url)
            yield

    @contextmanager
    def processes(self, *, without: str = "", version: str = "") -> Iterator[None]:
        self.redis.delete(keys.PROCESSES)
        Pulse(self.redis, [role for role in ROLES if role != without]).report()
        if version:
            this = RunningProcess.of_this_process([], 1, 0)  # the ingress may report meanwhile
            self.redis.hset(keys.PROCESS_VERSIONS, this.name, version)
        yield


@pytest.fixture
def world(  # noqa: PLR0913, PLR0917 - a fixture for each part
    monkeypatch: pytest.MonkeyPatch,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    supabase_world: Supabase,
    database_url: str,
    platform: PlatformServer,
    ingress: IngressProcess,
    other_url: str,
) -> World:
    settings = {
        "REDIS_URL": redis_server.url,
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_BASE_URL": platform.url,
        "WPP_SECRET": PLATFORM_SECRET,
        "WPP_KEY_SECRETS": KEY_SECRET,
        "WPP_PUBLIC_URL": ingress.url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    Pulse(redis_client, ROLES).report()
    account = connect_number(database_url, platform.url)
    url = redis_server.url
    return World(monkeypatch, redis_client, url, supabase_world, account, other_url)


def connect_number(database_url: str, platform_url: str) -> str:
    """Make an organization with a number whose key the platform accepts; return its account."""
    organization_id = uuid4()
    given = PlatformSettings(
        wpp_base_url=HttpUrl(platform_url), wpp_secret=SecretStr(PLATFORM_SECRET)
    )
    with Platform(given) as client:
        created = client.create_client(str(organization_id))
        client.mint_first_token(created.api_key)
    with psycopg.connect(database_url) as db:
        db.execute("insert into organizations (id, name) values (%s, 'School')", (organization_id,))
        values = (uuid4(), organization_id, created.account, created.api_key.get_secret_value())
        db.execute("select wpp_save_integration(%s, %s, 'First', %s, %s)", values)
    return created.account


def examine() -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return the exit code, and the findings by result."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found: list[dict[str, str]] = json.loads(done.stdout)
    by_result: dict[str, list[dict[str, str]]] = {"fault": [], "skipped": [], "warning": []}
    for each in found:
        by_result.setdefault(each["result"], []).append(each)
    return done.exit_code, by_result


@pytest.mark.usefixtures("world")
def test_a_whole_installation() -> None:
    """Every check is made, in order, and the exit code is 0."""
    code, found = examine()
    assert (code, found["fault"], found["skipped"], found["warning"]) == (0, [], [], [])
    assert [each["check"] for each in found["ok"]] == [
        "settings",
        "names",
        "timeouts",
        "redis",
        "redis rights",
        "clocks",
        "supabase keys",
        "supabase schema",
        "supabase migrations",
        "supabase row security",
        "supabase bucket",
        "supabase realtime",
        "clocks",
        "platform",
        "platform key",
        "webhooks",
        "processes",
        "versions",
    ]


Break = Callable[[World], AbstractContextManager[None]]


def with_settings(**values: str | None) -> Break:
    return lambda world: world.settings(**values)


def with_schema(change: str, undo: str) -> Break:
    return lambda world: world.schema(change, undo)


def with_config(name: str, value: str) -> Break:
    return lambda world: world.config(name, value)


BROKEN: dict[str, tuple[Break, str, str, str]] = {
    "a missing setting": (
        with_settings(WPP_SECRET=None),
        "settings",
        "WPP_SECRET: Field required",
        ".env.example",
    ),
    "a misspelled name": (
        with_settings(WPP_PACE_BURTS="3"),
        "names",
        "WPP_PACE_BURTS",
        "WPP_PACE_BURST?",
    ),
    "a misspelled prefix": (
        with_settings(SUPABASE_SERVICE_ROL_KEY="x"),
        "names",
        "SUPABASE_SERVICE_ROL_KEY",
        "SUPABASE_SERVICE_ROLE_KEY?",
    ),
    "a lease shorter than a call": (
        with_settings(WPP_LEASE_S="10"),
        "settings",
        "WPP_HTTP_DEADLINE_S (20) must be below WPP_LEASE_S (10)",
        ".env.example",
    ),
    "a lease shorter than a post": (
        with_settings(WPP_LEASE_S="9", WPP_HTTP_DEADLINE_S="8"),
        "timeouts",
        "WPP_CALLBACK_TIMEOUT_S (10) must be below WPP_LEASE_S (9)",
        "every process",
    ),
    "Redis is away": (
        with_settings(REDIS_URL="redis://127.0.0.1:9/0"),
        "redis",
        "127.0.0.1:9",
        "REDIS_URL",
    ),
    "a refused user of Redis": (
        with_settings(REDIS_URL="redis://nobody:word@127.0.0.1:{world.redis_port}/0"),
        "redis",
        "invalid username-password pair",
        "correct user and password",
    ),
    "a Redis that evicts": (
        with_config("maxmemory-policy", "allkeys-lru"),
        "redis",
        "maxmemory-policy is allkeys-lru",
        "docs/deploying.md",
    ),
    "a Redis that forgets": (
        with_config("appendonly", "no"),
        "redis",
        "appendonly is off",
        "docs/deploying.md",
    ),
    "a user of Redis without rights": (
        World.limited_user,
        "redis rights",
        "may not use eval, lmove",
        "+eval +lmove",
    ),
    "Supabase is away": (
        with_settings(SUPABASE_URL=NOWHERE),
        "supabase",
        "does not answer",
        "SUPABASE_URL",
    ),
    "a wrong anon key": (
        with_settings(SUPABASE_ANON_KEY="wrong"),
        "supabase keys",
        "SUPABASE_ANON_KEY is refused",
        "anon",
    ),
    "a wrong service key": (
        with_settings(SUPABASE_SERVICE_ROLE_KEY="wrong"),
        "supabase keys",
        "SUPABASE_SERVICE_ROLE_KEY is refused",
        "service_role",
    ),
    "the anon key in place of the service key": (
        with_settings(SUPABASE_SERVICE_ROLE_KEY="{world.supabase.anon_key}"),
        "supabase keys",
        "SUPABASE_SERVICE_ROLE_KEY is a key of another kind: anon",
        "service_role or secret key",
    ),
    "the service key in place of the anon key": (
        with_settings(SUPABASE_ANON_KEY="{world.supabase.service_role_key}"),
        "supabase keys",
        "SUPABASE_ANON_KEY is a key of another kind: service_role",
        "anon or publishable key",
    ),
    "keys of another project": (
        with_settings(
            SUPABASE_URL="https://abc.supabase.co",
            SUPABASE_ANON_KEY="sb_publishable_x",
        ),
        "supabase keys",
        "SUPABASE_SERVICE_ROLE_KEY belongs to the project local",
        "of one project",
    ),
    "a function is gone": (
        with_schema(
            "alter function wpp_prune rename to wpp_prune_gone",
            "alter function wpp_prune_gone rename to wpp_prune",
        ),
        "supabase schema",
        "function wpp_prune is missing",
        "migrations",
    ),
    "a column is gone": (
        with_schema(
            "alter table wpp_dead_letters rename column reason to why",
            "alter table wpp_dead_letters rename column why to reason",
        ),
        "supabase schema",
        "column wpp_dead_letters.reason is missing",
        "migrations",
    ),
    "a migration is not applied": (
        with_schema(
            "update supabase_migrations.schema_migrations set version = 'gone' where version ="
            " (select max(version) from supabase_migrations.schema_migrations)",
            f"update supabase_migrations.schema_migrations set version = '{NEWEST[:14]}'"  # noqa: S608
            " where version = 'gone'",
        ),
        "supabase migrations",
        f"{NEWEST} is not applied",
        "supabase db push",
    ),
    "a table without row security": (
        with_schema(
            "alter table wpp_webhook_log disable row level security",
            "alter table wpp_webhook_log enable row level security",
        ),
        "supabase row security",
        "public.wpp_webhook_log has no row security",
        "enable row level security",
    ),
    "a policy for everybody": (
        with_schema(
            "create policy everybody on wpp_webhook_log for select using (true);"
            "grant select on wpp_webhook_log to anon;"
            "insert into wpp_webhook_log (id, account, event_type, payload, became, at)"
            "values (gen_random_uuid(), '7', 'chat', '{}', 'message', now())",
            "delete from wpp_webhook_log; revoke select on wpp_webhook_log from anon;"
            "drop policy everybody on wpp_webhook_log",
        ),
        "supabase row security",
        "the public key reads rows of wpp_webhook_log",
        "drop the policy",
    ),
    "the bucket is gone": (
        with_schema(
            "update storage.buckets set id = 'gone', name = 'gone' where id = 'chat-media'",
            "update storage.buckets set id = 'chat-media', name = 'chat-media' where id = 'gone'",
        ),
        "supabase bucket",
        "the bucket chat-media is missing",
        "migrations",
    ),
    "a table is not published": (
        with_schema(
            "alter publication supabase_realtime drop table chat_messages",
            "alter publication supabase_realtime add table chat_messages",
        ),
        "supabase realtime",
        "the publication supabase_realtime lacks chat_messages",
        "alter publication supabase_realtime add table chat_messages",
    ),
    "the platform is away": (
        with_settings(WPP_BASE_URL=NOWHERE),
        "platform",
        NOWHERE,
        "WPP_BASE_URL",
    ),
    "another server in place of the platform": (
        with_settings(WPP_BASE_URL="{world.other_url}"),
        "platform",
        "WPP_BASE_URL: http://127.0.0.1",
        "WPP_BASE_URL",
    ),
    "a key that the platform refuses": (
        with_schema('update wpp.integration_secrets set secrets = \'{"wppApiKey": "gone"}\'', ""),
        "platform key",
        "is refused",
        "force_recreate",
    ),
    "a public URL that leads nowhere": (
        with_settings(WPP_PUBLIC_URL=NOWHERE),
        "webhooks",
        "WPP_PUBLIC_URL: no answer",
        "DNS",
    ),
    "a public URL that leads to another server": (
        with_settings(WPP_PUBLIC_URL="{world.other_url}"),
        "webhooks",
        "another program answers 200 (BaseHTTP",
        "let the proxy pass /webhooks/ on",
    ),
    "a public URL that leads to an ingress with other secrets": (
        with_settings(WPP_KEY_SECRETS="another secret that is long enough to sign"),
        "webhooks",
        "an ingress with other WPP_KEY_SECRETS",
        "the same WPP_KEY_SECRETS",
    ),
    "a public URL that leads to an ingress with another Redis": (
        World.another_redis,
        "webhooks",
        "it has another Redis",
        "the same REDIS_URL",
    ),
    "no worker for messages": (
        partial(World.processes, without="send"),
        "processes",
        "send: no process runs",
        "Procfile",
    ),
    "no worker for callbacks": (
        partial(World.processes, without="callback"),
        "processes",
        "callback: no process runs",
        "Procfile",
    ),
    "a worker of another version": (
        partial(World.processes, version="0.0.9"),
        "versions",
        "has version 0.0.9, not ",
        "start it anew",
    ),
}
"""By what is broken: how to break it, then check, detail and action of the fault."""


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_alone(world: World, name: str) -> None:
    breaks, check, detail, action = BROKEN[name]
    with breaks(world):
        fault = wait_until(lambda: find_only_fault(check), name, poll_s=0.2)
    assert detail in fault["detail"]
    assert action in fault["action"]


def find_only_fault(check: str) -> dict[str, str] | None:
    """Return the fault once it is the only one: PostgREST reloads its schema meanwhile."""
    code, found = examine()
    is_alone = [each["check"] for each in found["fault"]] == [check]
    return found["fault"][0] if is_alone and code == 1 else None


def test_a_check_that_hangs_says_what_it_waits_for(world: World) -> None:
    """A server that sends a byte now and then meets every other time limit."""
    with world.settings(WPP_PUBLIC_URL="{world.other_url}/slow"):
        started_s = time.monotonic()
        found = {each.check: each for each in run_checks({}, deadline_s=4)}
        assert time.monotonic() - started_s < 60
    assert found["webhooks"].detail == "no result within 4 s: it waits for WPP_PUBLIC_URL"
    assert found["processes"].result == "ok"


@pytest.mark.parametrize(("at_s", "result"), [(101, "ok"), (89, "ok"), (120, "fault")])
def test_clocks_that_are_apart(at_s: float, result: str) -> None:
    """The way to the other clock and back is no difference."""
    finding = compare_clocks("Redis", at_s, asked_s=98, answered_s=104)
    assert finding.result == result
    if result == "fault":
        assert finding.detail == "the clocks of Redis and of this machine are 16 s apart"


@pytest.mark.usefixtures("world")
def test_people_read_marks_and_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WPP_PUBLIC_URL", NOWHERE)
    lines = CliRunner().invoke(app, ["doctor"]).stdout.splitlines()
    assert lines[0] == "ok  settings               all set"
    (place,) = [number for number, line in enumerate(lines) if line.startswith("NO  webhooks")]
    assert lines[place + 1].strip().startswith("→ is the web process running")

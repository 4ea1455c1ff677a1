"""`wpp doctor` names what is broken, and no consequence of it, with what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from sandbox.platform.server import PlatformServer
from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from tests.conftest import PLATFORM_SECRET
from tests.fixtures.waiting import wait_until
from workers.cli.app import app
from workers.pulse import Pulse

NOWHERE = "http://127.0.0.1:9"
ROLES = ["send", "provision", "webhook", "media", "record", "clock"]


class Ingress(BaseHTTPRequestHandler):
    """Answers `/health` as the ingress does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ok":true}')

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002
        """Write nothing."""


@pytest.fixture(scope="module")
def public_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Ingress) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def whole(  # noqa: PLR0913, PLR0917 - a fixture for each part
    monkeypatch: pytest.MonkeyPatch,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    supabase_world: Supabase,
    database_url: str,
    platform: PlatformServer,
    public_url: str,
) -> pytest.MonkeyPatch:
    """Set up an installation without a fault; return what breaks it."""
    del database_url  # requested because it empties the tables
    settings = {
        "REDIS_URL": redis_server.url,
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_BASE_URL": platform.url,
        "WPP_SECRET": PLATFORM_SECRET,
        "WPP_KEY_SECRETS": "s" * 32,
        "WPP_PUBLIC_URL": public_url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    Pulse(redis_client, ROLES).report()
    return monkeypatch


def examine() -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return the exit code, and the findings by result."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found: list[dict[str, str]] = json.loads(done.stdout)
    by_result: dict[str, list[dict[str, str]]] = {"fault": [], "skipped": [], "warning": []}
    for each in found:
        by_result.setdefault(each["result"], []).append(each)
    return done.exit_code, by_result


def test_a_whole_installation(whole: pytest.MonkeyPatch) -> None:
    """Every check is made, in order, and the exit code is 0."""
    del whole
    code, found = examine()
    assert (code, found["fault"], found["skipped"], found["warning"]) == (0, [], [], [])
    assert [each["check"] for each in found["ok"]] == [
        "settings",
        "names",
        "redis",
        "supabase keys",
        "supabase schema",
        "supabase row security",
        "supabase bucket",
        "platform",
        "webhooks",
        "processes",
    ]


BROKEN: dict[str, tuple[dict[str, str | None], str, str, str]] = {
    "a missing setting": (
        {"WPP_SECRET": None},
        "settings",
        "WPP_SECRET: Field required",
        ".env.example",
    ),
    "a misspelled name": ({"WPP_PACES_S": "3"}, "names", "WPP_PACES_S", "WPP_PACE_S?"),
    "times that contradict": (
        {"WPP_LEASE_S": "10"},
        "settings",
        "WPP_HTTP_DEADLINE_S (20) must be below WPP_LEASE_S (10)",
        ".env.example",
    ),
    "Redis is away": ({"REDIS_URL": "redis://127.0.0.1:9/0"}, "redis", "127.0.0.1:9", "REDIS_URL"),
    "Supabase is away": (
        {"SUPABASE_URL": NOWHERE},
        "supabase",
        "does not answer",
        "SUPABASE_URL",
    ),
    "a wrong anon key": (
        {"SUPABASE_ANON_KEY": "wrong"},
        "supabase keys",
        "SUPABASE_ANON_KEY is refused",
        "anon",
    ),
    "a wrong service key": (
        {"SUPABASE_SERVICE_ROLE_KEY": "wrong"},
        "supabase keys",
        "SUPABASE_SERVICE_ROLE_KEY is refused",
        "service_role",
    ),
    "the platform is away": ({"WPP_BASE_URL": NOWHERE}, "platform", NOWHERE, "WPP_BASE_URL"),
    "a public URL that leads nowhere": (
        {"WPP_PUBLIC_URL": NOWHERE},
        "webhooks",
        "WPP_PUBLIC_URL: no answer",
        "DNS",
    ),
}
"""By what is broken: the settings that break it, then check, detail and action of the fault."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_setting_is_named_alone(whole: pytest.MonkeyPatch, name: str) -> None:
    settings, check, detail, action = BROKEN[name]
    for variable, value in settings.items():
        if value is None:
            whole.delenv(variable)
        else:
            whole.setenv(variable, value)
    code, found = examine()
    (fault,) = found["fault"]
    assert code == 1
    assert fault["check"] == check
    assert detail in fault["detail"]
    assert action in fault["action"]


def test_a_redis_that_may_lose_data(whole: pytest.MonkeyPatch, redis_client: redis.Redis) -> None:
    del whole
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        _, found = examine()
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert [each["check"] for each in found["fault"]] == ["redis"]
    assert "maxmemory-policy" in found["fault"][0]["detail"]


def test_a_queue_without_workers(whole: pytest.MonkeyPatch, redis_client: redis.Redis) -> None:
    del whole
    redis_client.flushall()
    Pulse(redis_client, [role for role in ROLES if role != "media"]).report()
    _, found = examine()
    assert [each["detail"] for each in found["fault"]] == ["media: no process runs"]


@contextmanager
def changed_schema(world: Supabase, change: str, undo: str) -> Iterator[None]:
    """Change the schema for the duration of a block."""
    reload = "notify pgrst, 'reload schema'"
    with psycopg.connect(world.postgres.admin_url, autocommit=True) as connection:
        connection.execute(change.encode())
        connection.execute(reload)
        try:
            yield
        finally:
            connection.execute(undo.encode())
            connection.execute(reload)


OPEN_TO_ALL = """
    alter table wpp_webhook_log disable row level security;
    grant select on wpp_webhook_log to anon;
    insert into wpp_webhook_log (id, account, event_type, payload, became, at)
    values (gen_random_uuid(), '7', 'chat', '{}', 'message', now())
"""
CLOSE_TO_ALL = """
    delete from wpp_webhook_log;
    revoke select on wpp_webhook_log from anon;
    alter table wpp_webhook_log enable row level security
"""
SCHEMA: dict[str, tuple[str, str, str]] = {
    "a function": (
        "alter function wpp_prune rename to wpp_prune_gone",
        "alter function wpp_prune_gone rename to wpp_prune",
        "function wpp_prune is missing",
    ),
    "a column": (
        "alter table wpp_dead_letters rename column reason to why",
        "alter table wpp_dead_letters rename column why to reason",
        "column wpp_dead_letters.reason is missing",
    ),
    "a bucket": (
        "update storage.buckets set id = 'gone', name = 'gone' where id = 'chat-media'",
        "update storage.buckets set id = 'chat-media', name = 'chat-media' where id = 'gone'",
        "the bucket chat-media is missing",
    ),
    "row security": (
        OPEN_TO_ALL,
        CLOSE_TO_ALL,
        "the public key reads rows of wpp_webhook_log",
    ),
}
"""By what is missing: how to break it, how to mend it, the detail of the fault."""


@pytest.mark.parametrize("name", SCHEMA)
def test_a_database_that_lacks_a_part(
    whole: pytest.MonkeyPatch,
    supabase_world: Supabase,
    name: str,
) -> None:
    """The action names the migrations."""
    del whole
    change, undo, detail = SCHEMA[name]
    with changed_schema(supabase_world, change, undo):
        fault = wait_until(lambda: find_only_fault(detail), detail, poll_s=0.2)
    assert "migrations" in fault["action"]


def find_only_fault(detail: str) -> dict[str, str] | None:
    """Return the fault once it is the only one: PostgREST reloads its schema meanwhile."""
    faults = examine()[1]["fault"]
    return faults[0] if [each["detail"] for each in faults] == [detail] else None

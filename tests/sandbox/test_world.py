"""The local world as one thing: it starts, gives its addresses, and leaves nothing behind."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis
import supabase

from sandbox.errors import PortTakenError, SandboxError
from sandbox.ports import LOCALHOST
from sandbox.secrets import Secrets
from sandbox.services import Ports, World
from sandbox.supabase import seed
from shared.settings import (
    KeySettings,
    PlatformSettings,
    RedisSettings,
    SupabaseSettings,
    load_settings,
)
from tests.conftest import TOOLS

SCRIPT = """
    import json, sys
    from pathlib import Path
    from sandbox.services import Ports, World
    world = World(Path({directory!r}), ports=Ports.free(), environment={{}}, durable=False, tools=Path({tools!r}))
    with world as environment:
        print("up", json.dumps(environment), flush=True)
        input()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a folder that Postgres may enter when root runs the tests."""
    with tempfile.TemporaryDirectory(prefix="wpp-tests-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name) / "local"


def world(
    directory: Path, given: dict[str, str] | None = None, said: list[str] | None = None
) -> World:
    """Return a world on free ports; what is `given` is its environment, what it says goes to `said`."""
    say = [] if said is None else said
    return World(
        directory,
        ports=Ports.free(),
        environment=given or {},
        durable=False,
        tools=TOOLS,
        say=say.append,
    )


def launched(directory: Path) -> subprocess.Popen[bytes]:
    """Start a world in another process; it prints "up" and its environment, and waits."""
    script = textwrap.dedent(SCRIPT).format(directory=str(directory), tools=str(TOOLS))
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def check_for_a_while(local: World) -> None:
    for _ in range(200):
        local.check()
        time.sleep(0.01)


def parts() -> set[psutil.Process]:
    """Return what we have started ourselves, without what those start in turn: the session's own Postgres does so."""
    return {
        process
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE
    }


def test_gives_every_process_what_it_needs(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each address answers, the settings accept the values, and the demo user can sign in."""
    with world(directory) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for group in (RedisSettings, SupabaseSettings, PlatformSettings, KeySettings):
            load_settings(group)
        with redis.Redis.from_url(environment["REDIS_URL"]) as client:
            assert client.ping()
        assert httpx.get(f"{environment['WPP_BASE_URL']}/health").is_success
        with httpx.Client(http2=False) as http:
            options = supabase.ClientOptions(httpx_client=http, auto_refresh_token=False)
            person = supabase.create_client(
                environment["SUPABASE_URL"], environment["SUPABASE_ANON_KEY"], options
            )
            user = person.auth.sign_in_with_password(
                {"email": seed.EMAIL, "password": seed.PASSWORD}
            ).user
            assert user
            assert user.id == str(seed.USER)
            rows = person.table("profiles").select("organization_id").execute().data
        assert rows == [{"organization_id": str(seed.ORGANIZATION)}]


def test_keeps_data_and_secrets_and_leaves_no_process(directory: Path) -> None:
    before = parts()
    for _ in range(2):
        said: list[str] = []
        local = world(directory, {}, said)
        with local as environment:
            assert local.database_url
            with psycopg.connect(local.database_url) as connection:
                connection.execute("insert into public.organizations (name) values ('another')")
                organizations = connection.execute(
                    "select name from public.organizations order by name"
                ).fetchall()
            with redis.Redis.from_url(environment["REDIS_URL"]) as client:
                starts = client.incr("wpp:starts")
        assert parts() == before
    assert organizations == [(seed.NAME,), ("another",), ("another",)]
    assert starts == 2
    assert not any(line.startswith("migrated") for line in said)


def test_leaves_real_parts_alone(directory: Path) -> None:
    """All three set: nothing is started, their values are passed on."""
    before = parts()
    given = {
        "REDIS_URL": "redis://elsewhere:6379/0",
        "SUPABASE_URL": "https://abc.supabase.co",
        "SUPABASE_ANON_KEY": "anon",
        "SUPABASE_SERVICE_ROLE_KEY": "service",
        "WPP_BASE_URL": "https://platform.example.com",
        "WPP_SECRET": "secret",
        "WPP_KEY_SECRETS": "k" * 32,
        "WPP_PUBLIC_URL": "https://us.example.com",
    }
    with world(directory, given) as environment:
        assert given.items() <= environment.items()
        assert parts() == before


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"SUPABASE_URL": "https://abc.supabase.co"}, "SUPABASE_ANON_KEY"),
        ({"WPP_BASE_URL": "https://p"}, "WPP_SECRET"),
        ({"WPP_BASE_URL": "https://p", "WPP_SECRET": "s"}, "WPP_PUBLIC_URL"),
    ],
)
def test_a_real_part_needs_its_keys(directory: Path, given: dict[str, str], missing: str) -> None:
    with pytest.raises(SandboxError, match=missing), world(directory, given):
        pass


def test_a_taken_port_is_named_and_nothing_is_left_running(directory: Path) -> None:
    before = parts()
    ports = Ports.free()
    local = World(
        directory, ports=ports, environment={}, durable=False, tools=TOOLS, say=lambda _: None
    )
    with (
        socket.create_server((LOCALHOST, ports.platform)),
        pytest.raises(
            PortTakenError, match=rf"port {ports.platform}, needed by the platform.*WPP_FIRST_PORT="
        ),
        local,
    ):
        pass
    assert parts() == before


def test_a_failing_migration_leaves_nothing_running(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = parts()
    folder = directory.parent / "migrations"
    folder.mkdir()
    (folder / "1_broken.sql").write_text("select 1;\nselect nothing from nowhere;")
    monkeypatch.setattr("sandbox.services.MIGRATIONS", folder)
    with pytest.raises(SandboxError, match=r"1_broken.sql, line 2"), world(directory):
        pass
    assert parts() == before


def test_runs_once_in_a_folder(directory: Path) -> None:
    everything = {
        "REDIS_URL": "r",
        "SUPABASE_URL": "s",
        "SUPABASE_ANON_KEY": "a",
        "SUPABASE_SERVICE_ROLE_KEY": "s",
    }
    given = {**everything, "WPP_BASE_URL": "p", "WPP_SECRET": "s", "WPP_PUBLIC_URL": "u"}
    with (
        world(directory, given),
        pytest.raises(SandboxError, match="already running"),
        world(directory, given),
    ):
        pass


def test_notices_a_part_that_died(directory: Path) -> None:
    before = parts()
    local = world(directory)
    with local:
        local.check()
        own = [process for process in parts() if process not in before]
        next(process for process in own if process.name() == "postgres").kill()
        with pytest.raises(SandboxError, match=r"stopped with status -9"):
            check_for_a_while(local)


@pytest.mark.parametrize(
    "ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda one: one.name
)
def test_ends_whole_however_it_is_ended(directory: Path, ending: signal.Signals) -> None:
    """Nothing is left running; and the next start finds the same data."""
    with launched(directory) as launcher:
        assert launcher.stdout
        line = next(line for line in launcher.stdout if line.startswith(b"up "))
        started = psutil.Process(launcher.pid).children(recursive=True)
        assert len(started) > 5
        launcher.send_signal(ending)
    _, left = psutil.wait_procs(started, timeout=10)
    assert left == []
    assert (directory / "postgres" / "data" / "PG_VERSION").exists()
    kept = Secrets.kept_in(directory / "secrets.json")
    assert json.loads(line.removeprefix(b"up "))["WPP_SECRET"] == kept.platform

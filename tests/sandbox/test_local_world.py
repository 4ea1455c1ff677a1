"""The local world starts, returns its addresses, and leaves no process running."""

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
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import redis
import supabase

from sandbox.errors import PortTakenError, SandboxError
from sandbox.local_world import LocalWorld, Ports
from sandbox.ports import LOCALHOST
from sandbox.secrets import Secrets
from sandbox.supabase import seed
from shared.errors import ConfigurationError
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
    from sandbox.local_world import LocalWorld, Ports
    world = LocalWorld(
        Path({directory!r}), tools=Path({tools!r}),
        ports=Ports.free(), environment={{}}, durable=False
    )
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


def make_world(
    directory: Path, environment: dict[str, str] | None = None, **options: Any
) -> LocalWorld:
    """Return a world on free ports, without the settings of this machine."""
    defaults: dict[str, Any] = {"ports": Ports.free(), "report": lambda _: None}
    return LocalWorld(
        directory,
        environment=environment or {},
        durable=False,
        tools=TOOLS,
        **(defaults | options),
    )


def start_in_process(directory: Path) -> subprocess.Popen[bytes]:
    """Start a world in another process; it prints "up" and its environment, and waits."""
    script = textwrap.dedent(SCRIPT).format(directory=str(directory), tools=str(TOOLS))
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def check_for_two_seconds(world: LocalWorld) -> None:
    for _ in range(200):
        world.check()
        time.sleep(0.01)


def child_processes() -> set[psutil.Process]:
    """Return the direct children: the session's own Postgres forks children at any time."""
    return {
        process
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE
    }


def test_the_environment_serves_every_process(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each address answers, the settings accept the values, and the demo user can sign in."""
    with make_world(directory) as environment:
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


def test_data_and_secrets_survive_a_restart(directory: Path) -> None:
    before = child_processes()
    for _ in range(2):
        reports: list[str] = []
        world = make_world(directory, report=reports.append)
        with world as environment:
            assert world.database_url
            with psycopg.connect(world.database_url) as connection:
                connection.execute("insert into public.organizations (name) values ('another')")
                organizations = connection.execute(
                    "select name from public.organizations order by name"
                ).fetchall()
            with redis.Redis.from_url(environment["REDIS_URL"]) as client:
                starts = client.incr("wpp:starts")
        assert child_processes() == before
    assert organizations == [(seed.NAME,), ("another",), ("another",)]
    assert starts == 2
    assert not any(line.startswith("migrated") for line in reports)


def test_real_parts_are_used(directory: Path) -> None:
    """With all three addresses set no process starts, and their values are passed on."""
    before = child_processes()
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
    with make_world(directory, given) as environment:
        assert given.items() <= environment.items()
        assert child_processes() == before


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"SUPABASE_URL": "https://abc.supabase.co"}, "SUPABASE_ANON_KEY"),
        ({"WPP_BASE_URL": "https://p"}, "WPP_SECRET"),
        ({"WPP_BASE_URL": "https://p", "WPP_SECRET": "s"}, "WPP_PUBLIC_URL"),
    ],
)
def test_a_real_part_needs_its_keys(directory: Path, given: dict[str, str], missing: str) -> None:
    with pytest.raises(SandboxError, match=missing), make_world(directory, given):
        pass


def test_a_taken_port_is_named_and_nothing_is_left_running(directory: Path) -> None:
    before = child_processes()
    ports = Ports.free()
    expected = rf"port {ports.platform}, needed by the platform.*WPP_FIRST_PORT="
    with (
        socket.create_server((LOCALHOST, ports.platform)),
        pytest.raises(PortTakenError, match=expected),
        make_world(directory, ports=ports),
    ):
        pass
    assert child_processes() == before


def test_a_failing_migration_leaves_nothing_running(directory: Path) -> None:
    before = child_processes()
    folder = directory.parent / "migrations"
    folder.mkdir()
    (folder / "1_broken.sql").write_text("select 1;\nselect nothing from nowhere;")
    world = make_world(directory, migrations=folder)
    with pytest.raises(SandboxError, match=r"1_broken.sql, line 2"), world:
        pass
    assert child_processes() == before


def test_a_second_world_in_the_same_folder_is_refused(directory: Path) -> None:
    addresses = {
        "REDIS_URL": "r",
        "SUPABASE_URL": "s",
        "SUPABASE_ANON_KEY": "a",
        "SUPABASE_SERVICE_ROLE_KEY": "s",
    }
    given = {**addresses, "WPP_BASE_URL": "p", "WPP_SECRET": "s", "WPP_PUBLIC_URL": "u"}
    with (
        make_world(directory, given),
        pytest.raises(SandboxError, match="already running"),
        make_world(directory, given),
    ):
        pass


def test_check_finds_a_part_that_died(directory: Path) -> None:
    before = child_processes()
    world = make_world(directory)
    with world:
        world.check()
        own = [process for process in child_processes() if process not in before]
        next(process for process in own if process.name() == "postgres").kill()
        with pytest.raises(SandboxError, match=r"stopped with status -9"):
            check_for_two_seconds(world)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name
)
def test_a_signal_ends_every_process(directory: Path, number: signal.Signals) -> None:
    """Also SIGKILL, which no handler sees; the data stays."""
    with start_in_process(directory) as launcher:
        assert launcher.stdout
        line = next(line for line in launcher.stdout if line.startswith(b"up "))
        started = psutil.Process(launcher.pid).children(recursive=True)
        assert len(started) > 5
        launcher.send_signal(number)
    _, left = psutil.wait_procs(started, timeout=30)
    assert left == []
    assert (directory / "postgres" / "data" / "PG_VERSION").exists()
    stored = Secrets.load_or_create(directory / "secrets.json")
    assert json.loads(line.removeprefix(b"up "))["WPP_SECRET"] == stored.platform


@pytest.mark.parametrize("port", ["99999", "65531", "eight thousand", "0"])
def test_a_first_port_that_does_not_exist_is_refused(tmp_path: Path, port: str) -> None:
    """`wpp up` then exits with 2, and starts nothing."""
    with pytest.raises(ConfigurationError, match="WPP_FIRST_PORT"):
        LocalWorld(tmp_path, environment={"WPP_FIRST_PORT": port})

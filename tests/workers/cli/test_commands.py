"""Every command of `wpp`: its help, `--json`, what it says of nothing, and its exit codes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
import typer.main
from typer.testing import CliRunner, Result

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from tests.fixtures.ingress_process import KEY_SECRET
from workers.cli.app import app

HEAVY = {"pydantic", "redis", "httpx", "supabase", "structlog", "fastapi", "dramatiq", "sandbox"}
WITHOUT_JSON = {"up"}
"""They run until Ctrl-C, for people."""
NOBODY = str(uuid4())


def find_commands(command: Any, *names: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(names), command
        return
    for name, child in children.items():
        yield from find_commands(child, *names, name)


COMMANDS = dict(find_commands(typer.main.get_command(app)))


@pytest.fixture
def wpp(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    supabase_world: Supabase,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> CliRunner:
    """Return a runner of commands on an empty Redis and empty tables."""
    del redis_client, database_url  # requested because they empty them
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("SUPABASE_URL", supabase_world.url)
    monkeypatch.setenv("SUPABASE_ANON_KEY", supabase_world.anon_key)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase_world.service_role_key)
    monkeypatch.setenv("WPP_KEY_SECRETS", KEY_SECRET)
    monkeypatch.setenv("WPP_PUBLIC_URL", "http://127.0.0.1:9")
    return CliRunner()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help_and_json(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert COMMANDS[name].help
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert ("--json" in options) != (name in WITHOUT_JSON)


def test_help_answers_at_once() -> None:
    """What a command works with is imported when it runs: these take a second of CPU together."""
    code = f"import sys, workers.cli.app; print(sorted(set(sys.modules) & {HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


EMPTY: dict[str, str] = {
    "numbers": "no numbers",
    "numbers --down": "no number is down",
    "unknown": "no unknown messages",
    "dead": "no dead letters",
    "log": "no webhooks",
    "log --unrecognized": "nothing was not understood",
    "keys list": "no keys",
    "callbacks list": "no callbacks",
}
"""What a list says when there is nothing."""


@pytest.mark.parametrize("line", EMPTY)
def test_an_empty_list_is_said(wpp: CliRunner, line: str) -> None:
    people = wpp.invoke(app, line.split())
    assert (people.exit_code, people.stdout) == (0, f"{EMPTY[line]}\n")
    programs = wpp.invoke(app, [*line.split(), "--json"])
    assert (programs.exit_code, json.loads(programs.stdout)) == (0, [])


@pytest.mark.parametrize("line", ["status", "lanes", "version", "dead --replay", "doctor"])
def test_further_commands_print_json(wpp: CliRunner, line: str) -> None:
    """Also where the exit code says that something is wrong."""
    done = wpp.invoke(app, [*line.split(), "--json"])
    assert json.loads(done.stdout)
    assert done.exit_code == (1 if line in {"status", "doctor"} else 0)


@pytest.mark.parametrize(
    "line",
    [
        f"show {NOBODY}",
        f"settle {NOBODY} sent",
        f"cancel {NOBODY}",
        f"message {NOBODY}",
        f"reconnect {NOBODY}",
        f"dead --id {NOBODY}",
        f"dead --id {NOBODY} --replay",
        f"log --id {NOBODY}",
        f"policy {NOBODY} resend",
        f"pacing {NOBODY}",
        f"keys revoke {NOBODY}",
        f"callbacks deliveries {NOBODY}",
        f"callbacks replay {NOBODY} --since 2026-11-29T12:00:00",
    ],
    ids=lambda line: " ".join(line.replace(NOBODY, "ID").split()),
)
def test_an_id_that_does_not_exist_is_a_mistake(wpp: CliRunner, line: str) -> None:
    """It is named, in a sentence on stderr; with --json stdout stays empty."""
    done: Result = wpp.invoke(app, [*line.split(), "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert NOBODY in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line", ["show 7", "keys revoke x", "reconnect x", "numbers --organization x"]
)
def test_what_is_no_id_is_a_mistake(line: str) -> None:
    assert CliRunner().invoke(app, line.split()).exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://127.0.0.1:99999/0"),
        ("REDIS_URL", "localhost"),
        ("SUPABASE_URL", "nowhere"),
    ],
)
def test_a_wrong_address_is_a_mistake(
    wpp: CliRunner, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = wpp.invoke(app, ["message", NOBODY])
    assert done.exit_code == 2
    assert f"{name}: " in done.stderr.splitlines()[-1]

"""`wpp status`, `numbers`, `tail`, `version` and `--help`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from typer.testing import CliRunner

from sandbox.redis import RedisServer
from shared import tail
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import SessionOutcome
from shared.processes import CONSUMERS
from shared.redis import keys
from tests.fixtures.provision_env import ProvisionEnv, handle_next, supabase_settings
from workers.cli import overview
from workers.cli.app import app
from workers.pulse import Pulse

ROOT = Path(__file__).parents[3]
HEAVY = {"dramatiq", "fastapi", "httpx", "phonenumbers", "pydantic", "redis", "supabase"}
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
WITHOUT_JSON = {"up"}


@pytest.fixture
def wpp(env: ProvisionEnv, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Return a runner with the settings of `env`."""
    settings = supabase_settings(env.supabase)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("SUPABASE_URL", str(settings.supabase_url))
    for name in ("supabase_anon_key", "supabase_service_role_key"):
        monkeypatch.setenv(name.upper(), getattr(settings, name).get_secret_value())
    return CliRunner()


def run_all_roles(client: redis.Redis) -> None:
    Pulse(client, CONSUMERS).report()


def connect_two(env: ProvisionEnv) -> list[dict[str, Any]]:
    """Return two numbers, of which the second is down."""
    organization_id, other_id = env.create_organization(), env.create_organization()
    with env.worker() as ctx:
        for each in (organization_id, other_id):
            env.enqueue(each)
            assert handle_next(ctx)
        (first,) = env.find_integrations(organization_id)
        (down,) = env.find_integrations(other_id)
        lost = SessionOutcome(
            at=utc_now(), account=down["account"], status="disconnected", reason="unlinked"
        )
        Outbox(env.client).add([lost])
        env.record_outcomes()
    return [first, down]


def list_commands(commands: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each command with its whole name, also those of groups."""
    for name, command in commands.items():
        if inner := getattr(command, "commands", None):
            yield from list_commands(inner, f"{name} ")
        else:
            yield f"{before}{name}", command


def test_every_command_prints_json_on_demand() -> None:
    without = {
        name
        for name, command in list_commands(COMMANDS)
        if "--json" not in {option for each in command.params for option in each.opts}
    }
    assert without == WITHOUT_JSON


def test_help_loads_nothing_heavy() -> None:
    """So it answers at once: Redis, Supabase and pydantic are loaded by the commands."""
    code = (
        "import sys; from workers.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted(set(sys.modules) & set(sys.argv[1].split())), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(HEAVY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "doctor" in done.stdout
    assert done.stderr.split() == []


def test_status_of_a_system_at_work(wpp: CliRunner, env: ProvisionEnv) -> None:
    """Exit code 0, and the numbers that are down by name."""
    run_all_roles(env.client)
    _, down = connect_two(env)
    result = wpp.invoke(app, ["status", "--json"])
    assert result.exit_code == 0, result.output
    state = json.loads(result.stdout)
    assert (state["ok"], state["faults"]) == (True, [])
    assert sum(state["numbers"].values()) == 2
    assert [each["id"] for each in state["numbers_down"]] == [str(down["id"])]
    assert wpp.invoke(app, ["status"]).stdout.startswith("ok\n")


def test_status_of_a_system_without_workers(wpp: CliRunner, env: ProvisionEnv) -> None:
    """Exit code 1 for scripts."""
    env.client.delete(keys.PROCESSES)
    result = wpp.invoke(app, ["status"])
    assert result.exit_code == 1
    assert "send: no process runs" in result.stdout


def test_numbers_lists_them_with_a_header(wpp: CliRunner, env: ProvisionEnv) -> None:
    assert wpp.invoke(app, ["numbers"]).stdout == "no numbers\n"
    _, down = connect_two(env)
    lines = wpp.invoke(app, ["numbers"]).stdout.splitlines()
    assert lines[0].split() == [
        *["STATUS", "SINCE", "ORGANIZATION", "ID", "ID", "ACCOUNT", "PHONE", "NAME"],
        *["REASON", "ERROR"],
    ]
    assert len(lines) == 3
    found = json.loads(wpp.invoke(app, ["numbers", "--down", "--json"]).stdout)
    assert [(each["id"], each["reason"]) for each in found] == [(str(down["id"]), "unlinked")]


def test_version() -> None:
    found = json.loads(CliRunner().invoke(app, ["version", "--json"]).stdout)
    assert set(found) == {"version", "python"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["1", "2"]),
        (["--organization", "00000000-0000-4000-8000-000000000001"], ["1"]),
        (["--number", "7"], ["2"]),
        (["--message", "00000000-0000-4000-8000-000000000009"], ["1"]),
    ],
    ids=["all", "organization", "number", "message"],
)
def test_tail_shows_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, options: list[str], expected: list[str]
) -> None:
    told = [
        {
            "at": "2026-11-29T12:00:00.000+00:00",
            "process": "send",
            "event": "message.sent",
            "organization_id": "00000000-0000-4000-8000-000000000001",
            "event_id": "00000000-0000-4000-8000-000000000009",
            "mark": "1",
        },
        None,
        {
            "at": "2026-11-29T12:00:01.000+00:00",
            "process": "record",
            "event": "number.down",
            "account": "7",
            "mark": "2",
        },
    ]
    monkeypatch.setattr(tail, "watch_all", lambda _clients: iter(told))
    result = CliRunner().invoke(app, ["tail", "--json", *options])
    assert [json.loads(line)["mark"] for line in result.stdout.splitlines()] == expected
    people = CliRunner().invoke(app, ["tail", *options]).stdout
    assert people.startswith("12:00:0")


def test_a_line_matches_any_of_the_fields() -> None:
    assert overview.matches({"account": "7"}, {("integration_id", "account"): "7"})
    assert not overview.matches({"account": "8"}, {("integration_id", "account"): "7"})
    assert overview.matches({}, {("event_id",): None})

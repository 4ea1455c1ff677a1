"""An id that does not exist is a mistake in every command that takes ids: exit code 2."""

from uuid import UUID, uuid4

import pytest
import typer
from typer.testing import CliRunner

from sandbox.redis import RedisServer
from tests.fixtures.provision_env import ProvisionEnv, handle_next, supabase_settings
from workers.cli.app import app

STRANGE = str(UUID(int=7))
KEYS = ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY")


@pytest.fixture
def wpp(env: ProvisionEnv, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Return a runner with the settings of `env`."""
    settings = supabase_settings(env.supabase)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("SUPABASE_URL", str(settings.supabase_url))
    for name in KEYS:
        monkeypatch.setenv(name, getattr(settings, name.lower()).get_secret_value())
    return CliRunner()


STRANGERS = [
    "numbers --organization STRANGE",
    "numbers --down --organization STRANGE",
    "dead --organization STRANGE",
    "dead --organization STRANGE --replay",
    "dead --account nobody",
    "dead --number STRANGE",
    "dead --id STRANGE",
    "unknown --organization STRANGE",
    "log --account nobody",
    "log --account nobody --replay",
    "log --account nobody --unrecognized",
    "log --id STRANGE",
    "policy STRANGE",
    "policy STRANGE hold",
    "pacing STRANGE",
    "tail --organization STRANGE",
    "tail --number STRANGE",
    "tail --number nobody",
    "callbacks list --organization STRANGE",
    "callbacks deliveries STRANGE",
    "callbacks replay STRANGE --since 2026-11-29T12:00:00",
    "keys create shop --organization STRANGE",
    "keys revoke STRANGE",
    "connect STRANGE --url http://127.0.0.1:9",
    "reconnect STRANGE",
    "show STRANGE",
    "message STRANGE",
    "cancel STRANGE",
    "settle STRANGE sent",
    "send STRANGE +79990001122 Hello",
]


@pytest.mark.parametrize("command", STRANGERS)
def test_an_id_that_does_not_exist_is_a_mistake(wpp: CliRunner, command: str) -> None:
    """The error names it, and nothing is listed."""
    arguments = command.replace("STRANGE", STRANGE).split()
    result = wpp.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    wanted = "nobody" if "nobody" in command else STRANGE
    assert wanted in result.stderr or "send" in arguments


FOR_NEW_IDS = {"shards"}
"""A new organization gets its shard by being asked for."""


def test_every_command_with_an_id_is_tried() -> None:
    """A new command with an option for an id gets its line above."""
    tried = {line.split()[0] for line in STRANGERS} | FOR_NEW_IDS
    commands = vars(typer.main.get_command(app))["commands"]
    for name, command in commands.items():
        inner = getattr(command, "commands", {"": command}).values()
        takes_id = any("uuid" in str(vars(each)).lower() for one in inner for each in one.params)
        assert not takes_id or name in tried, name


def test_known_ids_are_no_mistake(wpp: CliRunner, env: ProvisionEnv) -> None:
    """Nor are those of a number that was removed."""
    organization_id = env.create_organization()
    with env.worker() as ctx:
        env.enqueue(organization_id)
        assert handle_next(ctx)
        (number,) = env.find_integrations(organization_id)
        ctx.database.integrations.remove(number["id"], organization_id)
    for command in (
        ["numbers", "--organization", organization_id],
        ["dead", "--organization", organization_id],
        ["dead", "--account", number["account"], "--number", number["id"]],
        ["log", "--account", number["account"]],
        ["unknown", "--organization", organization_id],
        ["callbacks", "list", "--organization", organization_id],
        ["policy", organization_id],
    ):
        result = wpp.invoke(app, [str(each) for each in command])
        assert result.exit_code == 0, result.output


def test_a_number_of_another_organization_has_no_pacing_here(
    wpp: CliRunner, env: ProvisionEnv
) -> None:
    organization_id = env.create_organization()
    with env.worker() as ctx:
        env.enqueue(organization_id)
        assert handle_next(ctx)
    strange = uuid4()
    result = wpp.invoke(app, ["pacing", str(organization_id), "--number", str(strange)])
    assert result.exit_code == 2
    assert f"has no number {strange}" in result.stderr

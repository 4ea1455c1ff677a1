"""`wpp keys` makes, lists and revokes service keys."""

import re
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.redis import keys
from shared.service_keys import hash_service_key
from workers.cli.app import app

Wpp = Callable[..., str]


@pytest.fixture
def wpp(
    redis_server: RedisServer,
    redis_client: redis.Redis,
    supabase_world: Supabase,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Wpp:
    """Return `wpp keys`: it returns the output, or the fault with exit code 1 or 2 before it."""
    del redis_client, database_url  # asked for because they empty what is there
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("SUPABASE_URL", supabase_world.url)
    monkeypatch.setenv("SUPABASE_ANON_KEY", supabase_world.anon_key)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase_world.service_role_key)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["keys", *map(str, arguments)])
        return f"{result.exit_code or ''}{result.output}"

    return run


@pytest.fixture
def organization_id(database_url: str) -> UUID:
    organization_id = uuid4()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into public.organizations (id, name) values (%s, 'Test')", (organization_id,)
        )
    return organization_id


def test_a_key_is_shown_once(wpp: Wpp, organization_id: UUID) -> None:
    """The list has its name, organizations and actions, and when it was used or revoked."""
    made = wpp("create", "crm", "--organization", organization_id, "--action", "messages:read")
    found = re.fullmatch(r"id   (\S+)\nkey  (wpk_[\w-]{43})\n", made)
    assert found, made
    key_id, key = found.groups()
    header, listed = wpp("list").splitlines()
    assert header.split() == ["ID", "STATE", "NAME", "ORGANIZATIONS", "ACTIONS"]
    assert key not in listed
    assert listed.split() == [key_id, "never", "used", "crm", str(organization_id), "messages:read"]
    assert wpp("revoke", key_id) == "revoked crm\n"
    assert "  revoked 20" in wpp("list")
    assert wpp("revoke", key_id).startswith("2")


def test_a_revoked_key_has_no_copy(
    wpp: Wpp, organization_id: UUID, redis_client: redis.Redis
) -> None:
    """So it is refused even while Supabase is away."""
    made = wpp("create", "crm", "--organization", organization_id).split()
    copy = keys.service_key(hash_service_key(made[3]))
    redis_client.set(copy, "{}")
    assert wpp("list").rstrip().endswith(" *"), "without --action a key allows everything"
    wpp("revoke", made[1])
    assert not redis_client.exists(copy)


def test_an_unknown_action_is_refused(wpp: Wpp, organization_id: UUID) -> None:
    """The message lists the actions."""
    answer = wpp("create", "crm", "--organization", organization_id, "--action", "all")
    assert answer.startswith("2")
    assert "messages:read" in answer
    assert wpp("list") == "no keys\n"


def test_a_key_of_an_operator_opens_the_console_only(wpp: Wpp, organization_id: UUID) -> None:
    """It names no organization, has a form of its own, and is listed and revoked as the rest."""
    found = re.fullmatch(r"id   (\S+)\nkey  (wpo_[\w-]{43})\n", wpp("create", "Olga", "--operator"))
    assert found
    key_id = found[1]
    assert wpp("list").splitlines()[1].split()[-2:] == ["all", "console"]
    assert wpp("revoke", key_id) == "revoked Olga\n"
    assert "revoked 20" in wpp("list")
    assert wpp("create", "crm").startswith("2")
    both = wpp("create", "crm", "--operator", "--organization", organization_id)
    assert both.startswith("2")

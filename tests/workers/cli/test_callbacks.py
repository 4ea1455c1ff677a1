"""`wpp callbacks` lists callbacks and deliveries, and replays events."""

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from sandbox.supabase.project import Supabase
from workers.cli.app import app

Wpp = Callable[..., str]
SECRET = "whsec_AAAA"


@pytest.fixture
def wpp(supabase_world: Supabase, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Wpp:
    """Return `wpp callbacks`: the output, with the exit code before it unless it is 0."""
    del database_url  # asked for because it empties the tables
    monkeypatch.setenv("SUPABASE_URL", supabase_world.url)
    monkeypatch.setenv("SUPABASE_ANON_KEY", supabase_world.anon_key)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase_world.service_role_key)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["callbacks", *map(str, arguments)])
        return f"{result.exit_code or ''}{result.output}"

    return run


@pytest.fixture
def callback_id(database_url: str) -> UUID:
    """Return a callback that fails, with an attempt."""
    organization_id, callback_id = uuid4(), uuid4()
    with psycopg.connect(database_url) as db:
        db.execute("insert into organizations (id, name) values (%s, 'Test')", (organization_id,))
        db.execute(
            "insert into wpp_callbacks (id, organization_id, url, secret, position, failing_since)"
            " values (%s, %s, 'https://crm.example.com/', %s, 7, now())",
            (callback_id, organization_id, SECRET),
        )
        db.execute(
            "insert into wpp_callback_deliveries (organization_id, callback_id, event_id,"
            " webhook_id, type, attempt, outcome, status, error) values"
            " (%s, %s, 5, 'evt_5', 'message.sent', 1, 'failed', 500, 'answered 500')",
            (organization_id, callback_id),
        )
    return callback_id


def test_callbacks_and_deliveries_are_listed(wpp: Wpp, callback_id: UUID) -> None:
    listed = wpp("list")
    assert str(callback_id) in listed
    assert "failing since" in listed
    assert SECRET not in listed + wpp("list", "--json")
    assert "evt_5" in wpp("deliveries", callback_id)
    [row] = json.loads(wpp("deliveries", callback_id, "--json"))
    assert (row["outcome"], row["status"]) == ("failed", 500)
    missing = uuid4()
    assert wpp("list", "--organization", missing) == f"2there is no organization {missing}\n"


def test_events_are_replayed(wpp: Wpp, callback_id: UUID, database_url: str) -> None:
    assert "2026-11-29 12:00:00 UTC" in wpp("replay", callback_id, "--since", "2026-11-29T12:00:00")
    with psycopg.connect(database_url) as db:
        assert db.execute("select generation from wpp_callbacks").fetchone() == (1,)


def test_an_unknown_callback_is_a_mistake(wpp: Wpp) -> None:
    for answer in (wpp("deliveries", uuid4()), wpp("replay", uuid4(), "--since", "2026-11-29")):
        assert answer.startswith("2")
        assert "wpp callbacks list" in answer

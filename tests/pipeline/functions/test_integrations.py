"""messenger-integrations: the panel's list and the changes of its cards."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.system import System
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel, crm_server

FIELDS = {
    "id",
    "organization_id",
    "messenger_type",
    "provider",
    "name",
    "is_primary",
    "is_enabled",
    "webhook_key",
    "settings",
    "created_at",
    "updated_at",
}
TOKEN = "a secret of another provider: 1234"


def add_telegram(system: System, pages: FrontEnd) -> UUID:
    """Add a row of another provider, with a secret in its settings."""
    row_id = uuid4()
    settings = {"apiToken": TOKEN, "profileId": "77"}
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "insert into public.messenger_integrations (id, organization_id, messenger_type, "
            "provider, name, settings) values (%s, %s, 'telegram', 'wappi', 'Bot', %s)",
            (row_id, pages.organization_id, Jsonb(settings)),
        )
    return row_id


def cards(pages: FrontEnd, query: str = "?messenger_type=whatsapp") -> list[dict[str, Any]]:
    answer = pages.get("messenger-integrations", query)
    assert (answer.status, answer.data["success"]) == (200, True)
    listed: list[dict[str, Any]] = answer.data["integrations"]
    return listed


def test_the_list_has_all_messengers_with_masked_secrets(system: System, pages: FrontEnd) -> None:
    """The primary first; a card has its account and a masked key."""
    first = connect_by_panel(system, pages)
    second = connect_by_panel(system, pages, add_new=True)
    telegram = add_telegram(system, pages)
    whatsapp = cards(pages)
    assert [card["settings"]["wppAccountNumber"] for card in whatsapp] == [
        first["session"],
        second["session"],
    ]
    assert [card["is_primary"] for card in whatsapp] == [True, False]
    assert {frozenset(card) for card in whatsapp} == {frozenset(FIELDS)}
    assert all(card["settings"]["wppApiKey"].startswith("••••••••") for card in whatsapp)
    [bot] = cards(pages, "?messenger_type=telegram")
    assert bot["id"] == str(telegram)
    assert bot["settings"] == {"apiToken": f"••••••••{TOKEN[-4:]}", "profileId": "77"}
    assert len(cards(pages, "")) == 3


def test_a_card_is_renamed_switched_and_made_primary(system: System, pages: FrontEnd) -> None:
    """The masked settings that the dialog sends back have no effect."""
    connect_by_panel(system, pages)
    connect_by_panel(system, pages, add_new=True)
    before = cards(pages)
    dialog = {
        "id": before[1]["id"],
        "name": "Second floor",
        "provider": "wpp",
        "is_primary": True,
        "is_enabled": True,
        "settings": {**before[1]["settings"], "wppAccountNumber": "0000000000000"},
    }
    changed = pages.call("messenger-integrations", dialog, method="PUT")
    assert (changed.status, changed.data["integration"]["name"]) == (200, "Second floor")
    after = cards(pages)
    assert [card["id"] for card in after] == [before[1]["id"], before[0]["id"]]
    assert after[0]["settings"] == before[1]["settings"]
    off = {"id": before[0]["id"], "is_enabled": False}
    assert (
        pages.call("messenger-integrations", off, method="PUT").data["integration"]["is_enabled"]
        is False
    )
    sent = pages.call("wpp-send", {"phoneNumber": "+79990007001", "message": "Still works"})
    assert sent.data["success"] is True


def test_a_deleted_card_is_disconnected(system: System, pages: FrontEnd) -> None:
    """It is gone at the answer, a repeat included; the next number becomes primary."""
    first = connect_by_panel(system, pages)
    second = connect_by_panel(system, pages, add_new=True)
    query = f"?id={first['integration_id']}"
    assert pages.call("messenger-integrations", method="DELETE", query=query).status == 200
    [left] = cards(pages)
    assert (left["id"], left["is_primary"]) == (second["integration_id"], True)
    status = pages.call("wpp-status", {"session_name": first["session"]}).data
    assert status["status"] == "disconnected"


def test_cards_are_deleted_in_a_row(system: System, pages: FrontEnd, stranger: FrontEnd) -> None:
    """Each within seconds of the former. A repeat has the same answer, but not for strangers."""
    numbers = [
        connect_by_panel(system, pages)["integration_id"],
        connect_by_panel(system, pages, add_new=True)["integration_id"],
    ]

    def delete(owner: FrontEnd, number: str) -> tuple[int, Any]:
        answer = owner.call("messenger-integrations", method="DELETE", query=f"?id={number}")
        return answer.status, answer.data.get("id")

    assert [delete(pages, number) for number in numbers] == [(200, each) for each in numbers]
    assert cards(pages) == []
    assert [delete(pages, number) for number in numbers] == [(200, each) for each in numbers]
    assert delete(stranger, numbers[0])[0] == 404
    assert delete(pages, str(uuid4()))[0] == 404


@pytest.mark.parametrize(
    ("method", "query", "body", "status"),
    [
        ("PUT", "", {}, 400),
        ("PUT", "", {"id": str(UUID(int=7)), "name": "x"}, 404),
        ("DELETE", "", None, 400),
        ("DELETE", f"?id={UUID(int=7)}", None, 404),
        ("POST", "", {"messenger_type": "whatsapp", "provider": "wpp", "name": "x"}, 400),
        ("POST", "", {"messenger_type": "telegram", "provider": "wappi", "name": "x"}, 404),
        ("PATCH", "", {}, 405),
    ],
    ids=range(7),
)
def test_errors_are_permanent_and_readable(
    connected: FrontEnd, method: str, query: str, body: Any, status: int
) -> None:
    """Also for what only the CRM's own function can do, while its address is not set."""
    answer = connected.call("messenger-integrations", body, method=method, query=query)
    assert (answer.status, bool(answer.error)) == (status, True)


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": 7}, {"is_enabled": "perhaps"}, {"provider": "wappi"}],
    ids=range(4),
)
def test_an_invalid_change_is_refused(connected: FrontEnd, change: dict[str, Any]) -> None:
    """With a text for people; the card stays as it is."""
    before = cards(connected)
    body = {"id": before[0]["id"], **change}
    answer = connected.call("messenger-integrations", body, method="PUT")
    assert 400 <= answer.status < 410
    assert answer.error
    assert cards(connected) == before


def test_rows_of_another_organization_are_unknown(
    system: System, connected: FrontEnd, stranger: FrontEnd
) -> None:
    """For every method, also when their organization is named; a server names it itself."""
    [theirs] = cards(connected)
    named = {"organizationId": str(connected.organization_id)}
    assert cards(stranger, f"?organizationId={connected.organization_id}") == []
    change = {"id": theirs["id"], "name": "Taken", **named}
    assert stranger.call("messenger-integrations", change, method="PUT").status == 404
    query = f"?id={theirs['id']}"
    assert stranger.call("messenger-integrations", method="DELETE", query=query).status == 404
    assert cards(connected) == [theirs]
    with crm_server(system) as server:
        listed = server.get("/messenger-integrations", params=named).json()["integrations"]
    assert listed == [theirs]

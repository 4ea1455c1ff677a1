"""The functions of numbers, as the CRM's panel and its older pages call them."""

import base64
import threading
from uuid import UUID, uuid4

import pytest

from tests.fixtures.system import System
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel, crm_server

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_panel_connects_a_number(system: System, pages: FrontEnd) -> None:
    """Create names session and key, the code is the raw string, status follows the scan."""
    created = pages.call("wpp-create", {})
    assert (created.status, created.data["success"]) == (200, True)
    assert created.data["apiKey"]
    assert created.data["status"] in {"qr_issued", "starting"}
    connect_by_panel(system, pages)
    again = pages.call("wpp-create", {}).data
    assert (again["status"], again["session"]) == ("connected", created.data["session"])
    assert pages.get("wpp-qr", f"?session={again['session']}").data == {"success": True, "qr": None}


def test_codes_are_strings_for_the_panel_and_pictures_for_older_pages(pages: FrontEnd) -> None:
    """wpp-qr and wpp-create give the pairing string; wpp-status and wpp-start give a PNG."""
    account = pages.call("wpp-create", {}).data["session"]
    code = pages.get("wpp-qr", f"?session={account}").data["qr"]
    assert not code.startswith("data:")
    for answer in (
        pages.call("wpp-status", {"session_name": account}).data,
        pages.call("wpp-start", {}).data,
    ):
        assert answer["status"] == "qr_issued"
        kind, _, content = answer["qrcode"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(PNG)


def test_each_number_has_its_own_status_in_every_spelling(system: System, pages: FrontEnd) -> None:
    """By account, by session name, by id, by GET, without a body; the primary without a name."""
    first = connect_by_panel(system, pages)
    second = pages.call("wpp-create", {"add_new": True}).data
    assert second["session"] != first["session"]

    def status_of(name: str) -> set[str]:
        account = {"session_name": name, "force": False}
        return {
            pages.call("wpp-status", account).data["status"],
            pages.call("wpp-status", {**account, "session_name": f"wpp_{name}"}).data["status"],
            pages.get("wpp-status", f"?session={name}").data["status"],
        }

    assert status_of(first["session"]) == {"connected"}
    assert status_of(second["session"]) <= {"qr_issued", "qr_pending"}
    by_id = {"integration_id": second["integration_id"], "force": True}
    assert pages.call("wpp-status", by_id).data["account_number"] == second["session"]
    for primary in (
        pages.call("wpp-status", {}),
        pages.call("wpp-status"),
        pages.get("wpp-status"),
    ):
        assert (primary.data["status"], primary.data["account_number"]) == (
            "connected",
            first["session"],
        )


def test_a_degraded_number_is_connected_in_every_answer(system: System, pages: FrontEnd) -> None:
    """Its phone is linked, and its reports are late: status, test button and diagnostics agree."""
    created = connect_by_panel(system, pages)
    system.update(
        "whatsapp_sessions", {"status": "degraded"}, session_name=f"wpp_{created['session']}"
    )
    tested = pages.call("wpp-send", {"action": "test_connection"}).data
    diagnosed = pages.call("wpp-diagnostics", {}).data
    assert pages.call("wpp-status", {}).data["status"] == "connected"
    assert (tested["success"], tested["state"]["status"]) == (True, "connected")
    assert (diagnosed["ok"], diagnosed["summary"]["successful"]) == (True, 1)
    assert [each["status"] for each in diagnosed["results"]] == ["connected"]
    rows = system.rows("whatsapp_sessions", session_name=f"wpp_{created['session']}")
    assert [row["status"] for row in rows] == ["degraded"]


def test_add_new_by_repeats_creates_one_number(system: System, pages: FrontEnd) -> None:
    """Also when the repeats come while the first call is in work."""
    connect_by_panel(system, pages)
    sessions: list[str] = []

    def add() -> None:
        sessions.append(pages.call("wpp-create", {"add_new": True}).data["session"])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(sessions)) == 1
    rows = system.rows("messenger_integrations", organization_id=str(pages.organization_id))
    assert len(rows) == 2


@pytest.mark.parametrize("body", [None, {}, {"session_suffix": "2"}], ids=["none", "empty", "more"])
def test_start_names_the_session(connected: FrontEnd, body: dict[str, str] | None) -> None:
    """With `ok` for the connector and `session_name` for the sessions page."""
    started = connected.call("wpp-start", body).data
    assert (started["ok"], started["success"], started["status"]) == (True, True, "connected")
    assert started["session_name"] == f"wpp_{started['account_number']}"


def test_provision_connects_by_one_click(pages: FrontEnd) -> None:
    """It names account and id, and holds the pairing string."""
    found = pages.call("wpp-provision", {}).data
    assert found["success"] is True
    assert found["status"] in {"qr_issued", "starting"}
    assert found["account_number"] == found["session"]
    assert str(UUID(found["integration_id"])) == found["integration_id"]


@pytest.mark.parametrize("spelling", ["id", "session", "none"])
def test_a_disconnected_number_is_gone_at_the_answer(
    system: System, pages: FrontEnd, spelling: str
) -> None:
    """A repeat has no further effect: with `{}` it does not disconnect the next number."""
    first = connect_by_panel(system, pages)
    second = connect_by_panel(system, pages, add_new=True)
    body = {
        "id": {"integration_id": first["integration_id"]},
        "session": {"integration_id": f"wpp_{first['session']}"},
        "none": {},
    }[spelling]
    for _ in range(2):
        answer = pages.call("wpp-disconnect", body)
        assert (answer.status, answer.data["ok"], answer.data["success"]) == (200, True, True)
        rows = system.rows("messenger_integrations", organization_id=str(pages.organization_id))
        assert [row["id"] for row in rows] == [second["integration_id"]]
    gone = pages.call("wpp-status", {"session_name": first["session"]})
    assert (gone.status, gone.data["status"]) == (200, "disconnected")


def test_what_an_organization_without_a_number_gets(pages: FrontEnd) -> None:
    """Status is an answer, the rest is a permanent error that is not repeated."""
    assert pages.call("wpp-status", {}).data["status"] == "disconnected"
    assert pages.call("wpp-start", {}).status == 404
    assert pages.call("wpp-disconnect", {}).status == 404
    assert pages.get("wpp-qr").status == 400
    assert pages.get("wpp-qr", "?session=0000000000000").status == 404
    assert pages.call("wpp-diagnostics", {}).data["ok"] is False
    assert pages.attempts == [200, 404, 404, 400, 404, 200]


def test_a_server_of_the_crm_names_the_organization(system: System, connected: FrontEnd) -> None:
    """Or a number; with the service role's key and without an apikey."""
    with crm_server(system) as server:
        for name in ("organizationId", "organization_id"):
            answer = server.post("/wpp-status", json={name: str(connected.organization_id)})
            assert answer.json()["status"] == "connected"
        account = answer.json()["account_number"]
        by_number = server.post("/wpp-status", json={"session_name": f"wpp_{account}"})
        assert by_number.json()["status"] == "connected"
        assert server.post("/wpp-status", json={}).status_code == 404
        unknown = server.post("/wpp-status", json={"integration_id": str(uuid4())})
        assert unknown.status_code == 404

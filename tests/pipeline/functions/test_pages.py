"""The front end's own reads and writes of tables, as its signed-in user."""

from urllib.parse import unquote

from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel
from tests.pipeline.functions.test_sending import add_contact, new_phone

CHAT_COLUMNS = (
    "id,client_id,message_text,message_type,system_type,is_read,created_at,file_url,file_name,"
    "file_type,external_message_id,messenger_type,call_duration,message_status,metadata,"
    "sender_name,is_outgoing"
)


def test_the_page_finds_its_provider(connected: FrontEnd, stranger: FrontEnd) -> None:
    """The query that precedes every send: whole rows, without a secret, of its own organization."""
    query = (
        "select=*&messenger_type=eq.whatsapp&is_active=eq.true"
        "&order=is_primary.desc,priority.asc&limit=1"
    )
    answer = connected.read("messenger_integrations", query)
    assert answer.status_code == 200, answer.text
    [row] = answer.json()
    assert (row["provider"], row["is_active"]) == ("wpp", True)
    assert row["settings"].keys() == {"wppAccountNumber", "wppApiKey"}
    assert row["settings"]["wppApiKey"].startswith("••")
    assert stranger.read("messenger_integrations", query).json() == []


def test_the_page_may_send(connected: FrontEnd, stranger: FrontEnd) -> None:
    """The gate of the chat: enabled and configured."""
    query = "select=is_enabled,provider,settings&messenger_type=eq.whatsapp"
    [row] = connected.read("messenger_settings", query).json()
    assert (row["is_enabled"], row["provider"]) == (True, "wpp")
    assert row["settings"]["wppBaseUrl"]
    assert row["settings"]["wppApiKey"]
    assert stranger.read("messenger_settings", query).json() == []


def test_the_chat_reads_reacts_and_marks_as_read(system: System, connected: FrontEnd) -> None:
    """With the columns that it names, and the upsert on (message_id, user_id)."""
    phone = new_phone()
    client = add_contact(system, connected, "clients", phone)
    sent = connected.call("wpp-send", {"clientId": str(client), "message": "Hi"}).data
    query = f"select={CHAT_COLUMNS}&client_id=eq.{client}&order=created_at.desc"
    [row] = wait_until(lambda: connected.read("chat_messages", query).json(), "the row")
    assert (row["id"], row["message_text"]) == (sent["messageId"], "Hi")
    reaction = {"message_id": row["id"], "user_id": str(connected.user_id)}
    for emoji in ("👍", "🔥"):
        answer = connected.http.post(
            "/rest/v1/message_reactions?on_conflict=message_id,user_id",
            json={**reaction, "emoji": emoji},
            headers={"Prefer": "resolution=merge-duplicates"},
        )
        assert answer.status_code in {200, 201}, answer.text
    found = connected.read("message_reactions", f"message_id=eq.{row['id']}&select=emoji").json()
    assert found == [{"emoji": "🔥"}]
    assert connected.http.patch(
        f"/rest/v1/chat_messages?id=eq.{row['id']}", json={"is_read": True}
    ).is_success


def test_the_sessions_page_shows_the_stored_code(pages: FrontEnd) -> None:
    """As the source of an `<img>`; its fragment is the string that the panel draws."""
    account = pages.call("wpp-create", {}).data["session"]
    code = pages.get("wpp-qr", f"?session={account}").data["qr"]
    query = f"session_name=eq.wpp_{account}&select=status,last_qr_b64,last_qr_at"
    [row] = pages.read("whatsapp_sessions", query).json()
    assert row["status"] == "qr_issued"
    picture, _, fragment = row["last_qr_b64"].partition("#")
    assert picture.startswith("data:image/png;base64,")
    assert unquote(fragment) == code


def test_the_sessions_page_deletes_rows_of_numbers_that_are_gone(
    system: System, pages: FrontEnd, stranger: FrontEnd
) -> None:
    """A connected number's row stays, with a reason to show; of another organization none goes."""
    account = connect_by_panel(system, pages)["session"]
    [row] = pages.read("whatsapp_sessions", f"session_name=eq.wpp_{account}").json()
    path = f"/rest/v1/whatsapp_sessions?id=eq.{row['id']}"
    refused = pages.http.delete(path)
    assert refused.status_code == 400
    assert "disconnect it first" in refused.json()["message"]
    assert pages.call("wpp-disconnect", {"integration_id": f"wpp_{account}"}).ok
    assert stranger.http.delete(path).is_success  # row security hides the row
    assert [each["id"] for each in pages.read("whatsapp_sessions").json()] == [row["id"]]
    assert pages.http.delete(path).is_success
    assert pages.read("whatsapp_sessions").json() == []

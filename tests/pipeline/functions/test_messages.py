"""wpp-edit, wpp-delete, wpp-react and wpp-download, as the chat calls them."""

import base64
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.system import System, texts_sent_to
from tests.fixtures.waiting import wait_until
from tests.pipeline.functions.front_end import FrontEnd, crm_server
from tests.pipeline.functions.test_sending import account_of, add_contact, faults, new_phone
from tests.workers.media.servers import FileServer, respond

DELETED = "[Сообщение удалено]"
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()


def row_of(system: System, message_id: str) -> dict[str, Any]:
    [row] = system.rows("chat_messages", id=message_id)
    return row


def send(system: System, pages: FrontEnd, phone: str, text: str, **more: Any) -> dict[str, Any]:
    """Send a message to a client with this phone; return its row once it was read."""
    client = add_contact(system, pages, "clients", phone)
    sent = pages.call("wpp-send", {"clientId": str(client), "message": text, **more}).data
    assert sent["success"] is True
    wait_until(
        lambda: [
            row
            for row in system.rows("chat_messages", id=sent["messageId"])
            if row["message_status"] == "read"
        ],
        "the message to be read",
    )
    return row_of(system, sent["messageId"])


def receive(system: System, pages: FrontEnd, phone: str, **more: Any) -> dict[str, Any]:
    """Let a customer write; return the row."""
    body = {"from": f"+{phone}", "text": f"Hi of {phone}", **more}
    with system.phone() as platform:
        path = f"/phone/{account_of(pages)}/messages"
        platform.post(path, json=body).raise_for_status()

    def find() -> dict[str, Any] | None:
        rows = system.rows("chat_messages", organization_id=str(pages.organization_id))
        mine = [row for row in rows if row["metadata"].get("phone") == phone]
        return next((row for row in mine if not row["is_outgoing"]), None)

    return wait_until(find, "the customer's message")


def on_the_phone(system: System, pages: FrontEnd, phone: str) -> list[dict[str, Any]]:
    with system.phone() as platform:
        messages = platform.get(f"/phone/{account_of(pages)}/messages").json()["messages"]
    return [each for each in messages if phone in {each.get("to"), each.get("from")}]


def write_text(pages: FrontEnd, message_id: str, text: str) -> None:
    """Write the new text into the row, as the page does before it calls wpp-edit."""
    changed = pages.http.patch(
        f"/rest/v1/chat_messages?id=eq.{message_id}", json={"message_text": text}
    )
    changed.raise_for_status()


def test_an_edit_is_a_new_message_under_the_same_row(system: System, connected: FrontEnd) -> None:
    """Also the second edit, and then the delete; statuses of the new message reach the row."""
    phone = new_phone()
    row = send(system, connected, phone, "First")
    tasks = [row["external_message_id"]]
    for text in ("Second", "Third"):
        write_text(connected, row["id"], text)
        body = {"messageId": row["id"], "newMessage": text, "clientId": row["client_id"]}
        for _ in range(2):  # a repeat of the wrapper
            edited = connected.call("wpp-edit", body)
            assert (edited.status, edited.data["success"]) == (200, True), edited
        tasks.append(edited.data["newTaskId"])
        changed = wait_until(
            lambda: (
                found
                if (found := row_of(system, row["id"]))["external_message_id"] == tasks[-1]
                else None
            ),
            "the new id",
        )
        assert (changed["message_text"], changed["metadata"]["is_edited"]) == (text, True)
    assert len(set(tasks)) == 3
    shown = on_the_phone(system, connected, phone)
    assert [(each["text"], each["status"] == "deleted") for each in shown] == [
        ("First", True),
        ("Second", True),
        ("Third", False),
    ]
    deleted = connected.call("wpp-delete", {"messageId": row["id"], "clientId": ""})
    assert (deleted.status, deleted.data) == (200, {"success": True, "wppDeleted": True})
    assert on_the_phone(system, connected, phone)[-1]["status"] == "deleted"
    assert len(system.rows("chat_messages", client_id=row["client_id"])) == 1


def test_an_edit_that_is_changed_back_ends_with_the_last_text(
    system: System, connected: FrontEnd
) -> None:
    """Within 10 s, and with a repeat of each call: every text goes out once."""
    phone = new_phone()
    row = send(system, connected, phone, "At five")
    for text in ("At six", "At five", "At six"):
        for _ in range(2):
            edited = connected.call("wpp-edit", {"messageId": row["id"], "newMessage": text})
            assert edited.data["success"] is True, edited
    shown = on_the_phone(system, connected, phone)
    assert [(each["text"], each["status"] == "deleted") for each in shown] == [
        ("At five", True),
        ("At six", True),
        ("At five", True),
        ("At six", False),
    ]
    wait_until(
        lambda: row_of(system, row["id"])["external_message_id"] == edited.data["newTaskId"],
        "the id of the last text",
    )
    assert row_of(system, row["id"])["message_text"] == "At six"


@pytest.mark.parametrize(
    "text",
    ["a" * 70_000, "\N{GRINNING FACE}" * 40_000, "Cut \ud83d"],
    ids=["characters", "bytes", "surrogate"],
)
def test_a_text_that_cannot_be_sent_is_no_edit(
    system: System, connected: FrontEnd, text: str
) -> None:
    """It is refused once, as the API refuses it; the message stays on both sides."""
    phone = new_phone()
    row = send(system, connected, phone, "At five")
    body = json.dumps({"messageId": row["id"], "newMessage": text}, ensure_ascii=False)
    content = body.encode(errors="surrogatepass")
    answer = connected.http.post("/functions/v1/wpp-edit", content=content)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
    assert [each["status"] for each in on_the_phone(system, connected, phone)] == ["read"]
    after = row_of(system, row["id"])
    assert [after[name] for name in ("message_text", "external_message_id")] == [
        "At five",
        row["external_message_id"],
    ]


def test_a_message_to_a_teacher_is_edited_too(system: System, connected: FrontEnd) -> None:
    """The chat passes `teacher:<id>` as the client: the row says who it is."""
    phone = new_phone()
    teacher = add_contact(system, connected, "teachers", phone)
    sent = connected.call("wpp-send", {"clientId": f"teacher:{teacher}", "message": "First"}).data
    wait_until(lambda: system.rows("chat_messages", id=sent["messageId"]), "the row")
    body = {"messageId": sent["messageId"], "newMessage": "Then", "clientId": f"teacher:{teacher}"}
    assert connected.call("wpp-edit", body).data["success"] is True
    assert texts_sent_to(system, account_of(connected), phone)[-1] == "Then"


def test_an_edit_that_is_refused_is_told(system: System, connected: FrontEnd) -> None:
    """`success: false` with the platform's reason."""
    phone = new_phone()
    row = send(system, connected, phone, "First")
    with faults(system, refused_recipients=[phone]):
        answer = connected.call("wpp-edit", {"messageId": row["id"], "newMessage": "Second"})
    assert (answer.status, answer.data["success"]) == (200, False)
    assert "not on WhatsApp" in answer.data["error"]


def test_a_deleted_message_is_known_by_its_text(system: System, connected: FrontEnd) -> None:
    """At the answer; the recipient's is gone, and a repeat has no further effect."""
    row = send(system, connected, phone := new_phone(), "Wrong chat")
    body = {"messageId": row["id"], "clientId": row["client_id"]}
    assert connected.call("wpp-delete", body).data == {"success": True, "wppDeleted": True}
    assert row_of(system, row["id"])["message_text"] == DELETED
    assert on_the_phone(system, connected, phone)[0]["status"] == "deleted"
    assert connected.call("wpp-delete", body).data["success"] is True
    wait_until(
        lambda: row_of(system, row["id"])["message_status"] == "deleted", "the status deleted"
    )
    assert row_of(system, row["id"])["message_text"] == DELETED
    edit = connected.call("wpp-edit", {"messageId": row["id"], "newMessage": "Back"})
    assert (edit.status, bool(edit.error)) == (400, True)


def test_what_was_not_sent_by_us_is_deleted_in_its_row(system: System, connected: FrontEnd) -> None:
    """A customer's message, and a row that a page inserted without an id."""
    arrived = receive(system, connected, new_phone())
    inserted = str(uuid4())
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "insert into chat_messages (id, organization_id, message_text, message_type, "
            "is_outgoing) values (%s, %s, 'Failed', 'manager', true)",
            (inserted, connected.organization_id),
        )
    for message_id in (arrived["id"], inserted):
        answer = connected.call("wpp-delete", {"messageId": message_id})
        assert (answer.status, answer.data) == (200, {"success": True, "wppDeleted": False})
        assert row_of(system, message_id)["message_text"] == DELETED
    edit = connected.call("wpp-edit", {"messageId": arrived["id"], "newMessage": "Theirs"})
    assert (edit.status, bool(edit.error)) == (400, True)


def test_reactions_reach_the_customer(system: System, connected: FrontEnd) -> None:
    """On a customer's message; the platform does not tell the id of our own: `wppSent: false`."""
    phone = new_phone()
    arrived = receive(system, connected, phone)
    answer = connected.call("wpp-react", {"messageId": arrived["id"], "emoji": "🔥"})
    assert (answer.status, answer.data["success"], answer.data["wppSent"]) == (200, True, True)
    assert on_the_phone(system, connected, phone)[0]["reaction"] == "🔥"
    wrong = connected.call("wpp-react", {"messageId": arrived["id"], "emoji": "👎"})
    assert (wrong.status, bool(wrong.error)) == (400, True)


def test_a_reaction_that_is_changed_back_ends_with_the_last(
    system: System, connected: FrontEnd
) -> None:
    """Within 10 s, and with a repeat of each call."""
    phone = new_phone()
    arrived = receive(system, connected, phone)
    for emoji in ("👍", "❤️", "👍"):
        for _ in range(2):
            answer = connected.call("wpp-react", {"messageId": arrived["id"], "emoji": emoji})
            assert (answer.data["success"], answer.data["wppSent"]) == (True, True)
        assert on_the_phone(system, connected, phone)[0]["reaction"] == emoji


def test_a_file_is_downloaded_without_headers(system: System, connected: FrontEnd) -> None:
    """By the external id of its message; also if it was not stored at its arrival."""
    phone = new_phone()
    media = {"mimetype": "image/png", "filename": "a.png", "base64": PNG}
    row = receive(system, connected, phone, type="image", text="", media=media)
    wait_until(lambda: row_of(system, row["id"])["file_url"], "the stored file")

    def download() -> bytes:
        body = {
            "messageId": row["external_message_id"],
            "organizationId": str(connected.organization_id),
        }
        answer = connected.call("wpp-download", body)
        assert (answer.status, answer.data["fileType"]) == (200, "image/png"), answer
        return httpx.get(answer.data["downloadUrl"], trust_env=False).content

    assert download() == base64.b64decode(PNG)
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "update chat_messages set file_url = null, metadata = (metadata - 'media_path') "
            '|| \'{"media_state": "refused"}\' where id = %s',
            (row["id"],),
        )
    assert download() == base64.b64decode(PNG)


def delete_object(system: System, path: str) -> None:
    """Delete a file from Storage, as a rule of the CRM's owner may."""
    key = system.environment["SUPABASE_SERVICE_ROLE_KEY"]
    httpx.request(
        "DELETE",
        f"{system.environment['SUPABASE_URL'].rstrip('/')}/storage/v1/object/chat-media",
        json={"prefixes": [path]},
        headers={"apikey": key, "Authorization": f"Bearer {key}"},
        trust_env=False,
    ).raise_for_status()


@pytest.mark.parametrize("on_platform", [True, False], ids=["kept", "gone"])
def test_a_file_that_storage_no_longer_has(
    system: System,
    connected: FrontEnd,
    on_platform: bool,  # noqa: FBT001
) -> None:
    """It is fetched from the platform anew. Where that has it no more, a single 404 tells so."""
    phone = new_phone()
    media = {"mimetype": "image/png", "filename": "a.png"}
    with FileServer(**{"a.png": respond(200, base64.b64decode(PNG))}) as server:
        where = {"base64": PNG} if on_platform else {"url": f"{server.url}/a.png"}
        row = receive(system, connected, phone, type="image", text="See", media={**media, **where})
        path = wait_until(
            lambda: row_of(system, row["id"])["metadata"].get("media_path"), "the stored file"
        )
    delete_object(system, path)
    before = len(connected.attempts)
    answer = connected.call("wpp-download", {"messageId": row["external_message_id"]})
    assert len(connected.attempts) == before + 1
    with system.service_client(connected.organization_id) as crm:
        file = crm.get(f"/v1/messages/{row['id']}/file")
    assert (answer.status, file.status_code) == ((200, 200) if on_platform else (404, 404))
    if on_platform:
        for link in (answer.data["downloadUrl"], file.json()["url"]):
            assert httpx.get(link, trust_env=False).content == base64.b64decode(PNG)


def test_a_path_that_a_user_wrote_is_not_signed(
    system: System, connected: FrontEnd, stranger: FrontEnd
) -> None:
    """A page may write metadata: the path of another organization's file gives no link."""
    theirs = f"wpp/{connected.organization_id}/{uuid4()}-0123456789abcdef.png"
    with psycopg.connect(system.database_url) as db:
        for number, path in enumerate((theirs, f"wpp/{stranger.organization_id}/../{theirs}")):
            db.execute(
                "insert into chat_messages (organization_id, message_text, message_type, "
                "external_message_id, metadata) values (%s, '', 'client', %s, %s)",
                (stranger.organization_id, f"forged-{number}", Jsonb({"media_path": path})),
            )
    for number in range(2):
        assert stranger.call("wpp-download", {"messageId": f"forged-{number}"}).status == 404


@pytest.mark.parametrize("function", ["wpp-edit", "wpp-delete", "wpp-react", "wpp-download"])
@pytest.mark.parametrize(
    ("message_id", "status"),
    [(None, 400), ("", 400), ("optimistic-1", 404), (str(UUID(int=7)), 404)],
    ids=["none", "empty", "optimistic", "unknown"],
)
def test_a_message_that_is_none_is_a_permanent_error(
    connected: FrontEnd, function: str, message_id: str | None, status: int
) -> None:
    """With a text for people, and no status that is repeated."""
    body = {"messageId": message_id, "newMessage": "x", "emoji": "👍"}
    answer = connected.call(function, body)
    assert (answer.status, bool(answer.error)) == (status, True)


def test_messages_of_another_organization_are_unknown(
    system: System, connected: FrontEnd, stranger: FrontEnd
) -> None:
    """By every function and id, also when their organization is named; a server may name them."""
    phone = new_phone()
    row = receive(system, connected, phone)
    own = send(system, connected, new_phone(), "Ours")
    as_them = {
        "organizationId": str(connected.organization_id),
        "newMessage": "Stolen",
        "emoji": "🔥",
    }
    for found in (row, own):
        for function in ("wpp-edit", "wpp-delete", "wpp-react"):
            body = {"messageId": found["id"], "clientId": found["client_id"], **as_them}
            assert stranger.call(function, body).status == 404
        body = {"messageId": found["external_message_id"], **as_them}
        assert stranger.call("wpp-download", body).status == 404
        assert row_of(system, found["id"])["message_text"] == found["message_text"]
    assert on_the_phone(system, connected, phone)[0]["reaction"] is None
    with crm_server(system) as server:
        answer = server.post("/wpp-react", json={"messageId": row["id"], "emoji": "👍"})
        assert (answer.status_code, answer.json()["wppSent"]) == (200, True)

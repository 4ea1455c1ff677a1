"""wpp-send and whatsapp-send, as the chat, its repeats and the CRM's servers call them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.receiver import run_receiver
from tests.fixtures.system import System, texts_sent_to
from tests.fixtures.waiting import wait_until
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel, crm_server
from tests.workers.ingress.messages.contacts import add_further_phone
from tests.workers.media.servers import FileServer, respond


def add_contact(system: System, pages: FrontEnd, table: str, phone: str | None) -> UUID:
    """Add a client or a teacher of the pages' organization."""
    contact_id = uuid4()
    name = "name" if table == "clients" else "first_name"
    with psycopg.connect(system.database_url) as db:
        db.execute(
            f"insert into public.{table} (id, organization_id, {name}, phone) "  # noqa: S608
            "values (%s, %s, 'Anna', %s)".encode(),
            (contact_id, pages.organization_id, phone),
        )
    return contact_id


def account_of(pages: FrontEnd) -> str:
    return str(pages.call("wpp-status", {}).data["account_number"])


def new_phone() -> str:
    return f"7999{uuid4().int % 10**7:07}"


@contextmanager
def faults(system: System, **plan: Any) -> Iterator[None]:
    """Let the platform's sandbox fail as planned while the block runs."""
    with system.phone() as platform:
        platform.post("/admin/faults", json=plan).raise_for_status()
        try:
            yield
        finally:
            platform.delete("/admin/faults").raise_for_status()


def row_of(system: System, message_id: str) -> dict[str, Any]:
    return wait_until(lambda: next(iter(system.rows("chat_messages", id=message_id)), None))


def test_the_chat_sends_to_a_client(system: System, connected: FrontEnd) -> None:
    """The row has the text as it was written, the client, and the sender's name."""
    phone = new_phone()
    client = add_contact(system, connected, "clients", f"8 {phone[1:]}")
    text = "  Good day,\n see you  "
    sent = connected.call(
        "wpp-send", {"clientId": str(client), "message": text, "senderName": "Maria"}
    )
    assert (sent.status, sent.data["success"], sent.data.get("error")) == (200, True, None)
    row = row_of(system, sent.data["messageId"])
    assert (row["message_text"], row["client_id"], row["sender_name"]) == (
        text,
        str(client),
        "Maria",
    )
    assert texts_sent_to(system, account_of(connected), phone) == [text]


@pytest.mark.parametrize("spelling", ["teacherId", "prefix", "phone", "empty"])
def test_recipients_in_every_spelling(system: System, connected: FrontEnd, spelling: str) -> None:
    """A teacher by id or by `teacher:<id>`; a phone without a client, or with an empty one."""
    phone = new_phone()
    teacher = add_contact(system, connected, "teachers", phone)
    named = {
        "teacherId": {"clientId": "", "teacherId": str(teacher)},
        "prefix": {"clientId": f"teacher:{teacher}"},
        "phone": {"phoneNumber": f"+{phone}"},
        "empty": {"clientId": "", "phoneNumber": phone},
    }[spelling]
    sent = connected.call("wpp-send", {**named, "text": f"By {spelling}"})
    assert (sent.status, sent.data["success"]) == (200, True)
    assert texts_sent_to(system, account_of(connected), phone) == [f"By {spelling}"]


def test_repeats_of_a_wrapper_and_of_many_browsers_are_one_message(
    system: System, connected: FrontEnd
) -> None:
    """While the first call is in work, and after it; a different text is a new message."""
    phone = new_phone()
    body = {"phoneNumber": phone, "message": "Once"}
    ids: list[str] = []

    def send() -> None:
        ids.append(connected.call("wpp-send", body).data["messageId"])

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    send()
    assert len(set(ids)) == 1
    connected.call("wpp-send", {**body, "message": "Twice"})
    assert texts_sent_to(system, account_of(connected), phone) == ["Once", "Twice"]


def test_a_refused_message_is_answered_in_time_and_not_sent_again(
    system: System, connected: FrontEnd
) -> None:
    """`success: false` within 5 s; its row counts as retried too often from the first insert."""
    phone = new_phone()
    with faults(system, refused_recipients=[phone]):
        started = time.monotonic()
        sent = connected.call("wpp-send", {"phoneNumber": phone, "message": "To nobody"})
        assert time.monotonic() - started < 5
    assert (sent.status, sent.data["success"]) == (200, False)
    assert "not on WhatsApp" in sent.data["error"]
    row = wait_until(
        lambda: (
            found
            if (found := row_of(system, sent.data["messageId"]))["message_status"] == "failed"
            else None
        )
    )
    assert row["metadata"]["retry_count"] >= 3
    rows = system.rows("chat_messages", organization_id=str(connected.organization_id))
    assert [each["id"] for each in rows if each["message_text"] == "To nobody"] == [row["id"]]


CONTENT = {
    "jpg": b"\xff\xd8\xff\xe0" + bytes(100),
    "mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(100),
    "ogg": b"OggS" + bytes(100),
    "pdf": b"%PDF-1.4 " + bytes(100),
    "unknown": b"Homework",
}


@pytest.mark.parametrize(
    ("extension", "kinds", "mime"),
    [
        ("jpg", ["image"], "image/jpeg"),
        ("mp4", ["file", "text"], "video/mp4"),
        ("ogg", ["file", "text"], "audio/ogg"),
        ("pdf", ["file", "text"], "application/pdf"),
        ("unknown", ["file", "text"], "text/plain"),
    ],
)
def test_files_by_their_extension(
    system: System, connected: FrontEnd, extension: str, kinds: list[str], mime: str
) -> None:
    """The text is their caption; the row names the file and its type."""
    phone = new_phone()
    name = f"a%20file.{extension}"
    with FileServer(**{f"chat-files/{name}": respond(200, CONTENT[extension])}) as server:
        url = f"{server.url}/chat-files/{name}?token=1.2"
        sent = connected.call(
            "wpp-send",
            {
                "phoneNumber": phone,
                "message": "See",
                "fileUrl": url,
                "fileName": f"Homework.{extension}",
            },
        )
    assert sent.data["success"] is True, sent
    assert sent.data["status"] == "sent"
    row = wait_until(
        lambda: found if (found := row_of(system, sent.data["messageId"]))["file_type"] else None,
        "the type of the file",
    )
    assert (row["message_text"], row["file_url"], row["file_type"]) == ("See", url, mime)
    assert row["file_name"] == f"Homework.{extension}"
    with system.phone() as platform:
        messages = platform.get(f"/phone/{account_of(connected)}/messages").json()["messages"]
    assert [each["type"] for each in messages if each.get("to") == phone] == kinds


def test_a_file_that_is_not_there_is_told_to_the_page(system: System, connected: FrontEnd) -> None:
    """Within the wait for the verdict; the platform is not called."""
    phone = new_phone()
    with FileServer() as server:
        url = f"{server.url}/gone.pdf"
        sent = connected.call("wpp-send", {"phoneNumber": phone, "message": "See", "fileUrl": url})
    assert (sent.status, sent.data["success"]) == (200, False)
    assert sent.data["error"] == "The file's address answers 404"
    assert texts_sent_to(system, account_of(connected), phone) == []


def test_a_reply_leaves_from_the_number_on_which_the_client_wrote_last(
    system: System, pages: FrontEnd
) -> None:
    """A number that was just removed is not used: the primary sends."""
    first = connect_by_panel(system, pages)
    second = connect_by_panel(system, pages, add_new=True)
    phone = new_phone()
    client = add_contact(system, pages, "clients", phone)
    with system.phone() as platform:
        platform.post(
            f"/phone/{second['session']}/messages", json={"from": f"+{phone}", "text": "Hi"}
        ).raise_for_status()
    wait_until(lambda: system.rows("chat_messages", client_id=str(client)), "the client's message")

    def send(text: str, **more: str) -> Any:
        return pages.call("wpp-send", {"clientId": str(client), "message": text, **more}).data

    assert send("To the second")["success"] is True
    assert send("By the first", integration_id=first["integration_id"])["success"] is True
    assert texts_sent_to(system, second["session"], phone) == ["To the second"]
    pages.call("wpp-disconnect", {"integration_id": second["integration_id"]})
    assert send("Now by the first")["success"] is True
    assert texts_sent_to(system, first["session"], phone) == ["By the first", "Now by the first"]
    gone = pages.call(
        "wpp-send",
        {"phoneNumber": phone, "message": "x", "integration_id": second["integration_id"]},
    )
    assert (gone.status, gone.ok) == (404, False)


def test_the_sending_number_is_named_by_its_account_too(
    system: System, pages: FrontEnd, connected: FrontEnd
) -> None:
    """In every spelling, also by the CRM's servers; a number of strangers is unknown."""
    connect_by_panel(system, pages)
    second = connect_by_panel(system, pages, add_new=True)
    account = second["session"]
    phone = new_phone()
    spellings = [
        {"integration_id": second["integration_id"]},
        {"integration_id": account},
        {"integration_id": f"wpp_{account}"},
        {"integrationId": f"wpp_{account}"},
    ]
    for number, named in enumerate(spellings):
        body = {"phoneNumber": phone, "message": f"By page {number}", **named}
        sent = pages.call("wpp-send", body)
        assert (sent.status, sent.data["success"]) == (200, True), sent
        assert connected.call("wpp-send", body).status == 404
    with crm_server(system) as server:
        for number, named in enumerate(spellings):
            body = {"phoneNumber": phone, "message": f"By server {number}", **named}
            assert server.post("/wpp-send", json=body).json()["success"] is True
    assert texts_sent_to(system, account, phone) == [
        f"By {who} {number}" for who in ("page", "server") for number in range(4)
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"message": "Hi"}, 400),
        ({"clientId": "", "message": "Hi"}, 400),
        ({"clientId": "optimistic-1", "message": "Hi"}, 404),
        ({"clientId": str(UUID(int=7)), "message": "Hi"}, 404),
        ({"clientId": f"teacher:{UUID(int=7)}", "message": "Hi"}, 404),
        ({"phoneNumber": "+79990001122"}, 400),
        ({"phoneNumber": "+79990001122", "message": "   "}, 400),
        ({"phoneNumber": "no phone", "message": "Hi"}, 400),
        ({"phoneNumber": "+79990001122", "message": "Hi", "fileUrl": "no link"}, 400),
        ({"phoneNumber": "+79990001122", "message": "Hi", "integration_id": "wpp_1"}, 404),
        ({"phoneNumber": "+79990001122", "message": "Hi", "integration_id": str(UUID(int=7))}, 404),
        ({"phoneNumber": 7, "message": ["Hi"]}, 400),
    ],
    ids=range(13),
)
def test_a_permanent_error_is_told_once(
    connected: FrontEnd, body: dict[str, Any], status: int
) -> None:
    """No status that the wrapper repeats, and a text for people."""
    before = len(connected.attempts)
    answer = connected.call("wpp-send", body)
    assert (answer.status, bool(answer.error)) == (status, True)
    assert len(connected.attempts) == before + 1


def test_a_contact_without_a_phone_is_400(system: System, connected: FrontEnd) -> None:
    """The error says so."""
    client = add_contact(system, connected, "clients", None)
    answer = connected.call("wpp-send", {"clientId": str(client), "message": "Hi"})
    assert (answer.status, answer.error) == (400, "This contact has no phone number.")


def test_connections_are_tested_with_wpp_send(connected: FrontEnd, stranger: FrontEnd) -> None:
    """The answer names the state; no message is sent."""
    tested = connected.call("wpp-send", {"action": "test_connection"}).data
    assert (tested["success"], tested["state"]["status"]) == (True, "connected")
    assert tested["message"]
    nothing = stranger.call("wpp-send", {"action": "test_connection"}).data
    assert (nothing["success"], nothing["state"]["status"]) == (False, "disconnected")
    assert nothing["error"]
    typing = connected.call("whatsapp-send", {"action": "send_typing", "isTyping": True})
    assert (typing.status, typing.data["success"]) == (200, False)


def test_contacts_and_numbers_of_another_organization_are_unknown(
    system: System, connected: FrontEnd, pages: FrontEnd
) -> None:
    """By id, also when the body names their organization."""
    connect_by_panel(system, pages)
    phone = new_phone()
    their_client = add_contact(system, connected, "clients", phone)
    their_teacher = add_contact(system, connected, "teachers", phone)
    their_number = connected.call("wpp-status", {}).data["integration_id"]
    as_them = {"organizationId": str(connected.organization_id), "message": "Stolen"}
    for function in ("wpp-send", "whatsapp-send"):
        for named in (
            {"clientId": str(their_client)},
            {"clientId": str(their_client), "phoneNumber": phone},
            {"teacherId": str(their_teacher)},
            {"phoneNumber": phone, "integration_id": their_number},
        ):
            assert pages.call(function, {**named, **as_them}).status == 404
    assert texts_sent_to(system, account_of(connected), phone) == []


def test_a_forwarded_message_reaches_a_phone_without_a_client(
    system: System, connected: FrontEnd
) -> None:
    """The page forwards by whatsapp-send whatever the provider is; also to a teacher."""
    phone, theirs = new_phone(), new_phone()
    teacher = add_contact(system, connected, "teachers", theirs)
    for named in (
        {"clientId": "", "phoneNumber": phone},
        {"teacherId": str(teacher), "phoneNumber": theirs},
    ):
        sent = connected.call("whatsapp-send", {**named, "message": "Forwarded"})
        assert (sent.status, sent.data["success"]) == (200, True)
        to = named["phoneNumber"]
        assert texts_sent_to(system, account_of(connected), to) == ["Forwarded"]


def test_servers_of_the_crm_send(system: System, connected: FrontEnd) -> None:
    """The payment's thanks, reminders, and the portal's invitations in their spellings."""
    phone = new_phone()
    client = add_contact(system, connected, "clients", phone)
    organization = str(connected.organization_id)
    calls: list[tuple[str, dict[str, Any]]] = [
        (
            "wpp-send",
            {
                "clientId": str(client),
                "phoneNumber": phone,
                "message": "1",
                "organizationId": organization,
            },
        ),
        ("whatsapp-send", {"clientId": str(client), "phoneNumber": phone, "message": "2"}),
        ("whatsapp-send", {"phone": phone, "message": "3", "organization_id": organization}),
        ("whatsapp-send", {"phoneNumber": phone, "message": "4", "skipClientLookup": True}),
    ]
    with crm_server(system) as server:
        for function, body in calls:
            answer = server.post(f"/{function}", json=body)
            assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert texts_sent_to(system, account_of(connected), phone) == ["1", "2", "3", "4"]

    def texts() -> bool:
        rows = system.rows("chat_messages", client_id=str(client))
        return {row["message_text"] for row in rows} == {"1", "2", "3", "4"}

    wait_until(texts, "a row of each")


def test_whatsapp_that_is_not_ours_is_not_taken(stranger: FrontEnd) -> None:
    """Without the address of the CRM's own functions: a permanent error."""
    answer = stranger.call("whatsapp-send", {"phoneNumber": "+79990001122", "message": "Hi"})
    assert (answer.status, bool(answer.error)) == (404, True)


def test_a_phone_that_is_not_ours_is_passed_on(system: System, tmp_path: Path) -> None:
    """A reminder of a server names the phone alone: the CRM's function gets it as it came."""
    environment = system.environment
    with run_receiver() as crm:
        crm.answer = lambda _post: 200
        crm.headers = {"Content-Type": "application/json"}
        crm.text = b'{"success": true, "messageId": "theirs"}'
        settings = {**environment, "WPP_CRM_FUNCTIONS_URL": crm.url}
        with IngressProcess(environment["REDIS_URL"], tmp_path, **settings) as ingress:
            key = f"Bearer {environment['SUPABASE_SERVICE_ROLE_KEY']}"
            bodies = [
                b'{"phoneNumber": "+70000000001",  "message": "Lesson at six"}',
                b'{"phone": "+70000000001", "organization_id": "none of ours", "message": "Hi"}',
            ]
            for body in bodies:
                answer = ingress.http.post(
                    "/functions/v1/whatsapp-send", content=body, headers={"Authorization": key}
                )
                assert (answer.status_code, answer.json()["messageId"]) == (200, "theirs")
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
            refused = httpx.post(
                f"{ingress.url}/functions/v1/wpp-send",
                content=bodies[0],
                headers={"Authorization": key},
                trust_env=False,
            )
            assert refused.status_code == 404
    assert [post.body for post in crm.posts] == bodies
    assert {post.headers["authorization"] for post in crm.posts} == {key}


def test_a_further_phone_of_a_client_names_the_organization(
    system: System, connected: FrontEnd
) -> None:
    """A server's reminder to it leaves from that organization's number."""
    phone = new_phone()
    client = add_contact(system, connected, "clients", new_phone())
    add_further_phone(system.database_url, client, f"+7 ({phone[1:4]}) {phone[4:]}")
    with crm_server(system) as server:
        answer = server.post("/whatsapp-send", json={"phoneNumber": phone, "message": "At six"})
    assert (answer.status_code, answer.json()["success"]) == (200, True), answer.text
    assert texts_sent_to(system, account_of(connected), phone) == ["At six"]

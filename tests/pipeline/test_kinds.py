"""Each kind of message, from the API to the recipient's phone and to its row."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until
from tests.workers.media.servers import FileServer, respond

Number = tuple[UUID, dict[str, Any]]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(100)
OGG = b"OggS" + bytes(100)
PDF = b"%PDF-1.4 " + bytes(100)


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer(
        **{
            "cat.png": respond(200, PNG),
            "clip.mp4": respond(200, MP4),
            "song.ogg": respond(200, OGG),
            "8f2c": respond(200, PDF, Content_Type="application/pdf"),
        }
    ) as server:
        yield server


@pytest.fixture
def crm(system: System, number: Number) -> Iterator[httpx.Client]:
    with system.service_client(number[0]) as client:
        yield client


def new_phone() -> str:
    return f"7999{uuid4().int % 10_000_000:07}"


def send(crm: httpx.Client, phone: str, **message: Any) -> dict[str, Any]:
    answer = crm.post("/v1/messages", json={"to": f"+{phone}", **message})
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


def read_row(system: System, message_id: str) -> dict[str, Any]:
    """Return the row of a message once the recipient has read it."""

    def read() -> dict[str, Any] | None:
        rows = system.rows("chat_messages", id=message_id)
        return rows[0] if rows and rows[0]["message_status"] == "read" else None

    return wait_until(read, "the message to be read")


def shown_to(system: System, number: Number, phone: str) -> list[tuple[str, str]]:
    """Return the type and the text of all that a recipient got."""
    with system.phone() as platform:
        path = f"/phone/{number[1]['account_number']}/messages"
        messages = platform.get(path).json()["messages"]
    return [(each["type"], each["text"]) for each in messages if each.get("to") == phone]


Case = tuple[str, str, list[str], str]
"""Kind, path, substitutes, MIME type."""
CASES: list[Case] = [
    ("image", "cat.png", [], "image/png"),
    ("video", "clip.mp4", ["caption_as_text"], "video/mp4"),
    ("audio", "song.ogg", ["caption_as_text"], "audio/ogg"),
    ("voice", "song.ogg", ["caption_as_text", "voice_as_file"], "audio/ogg"),
    ("document", "8f2c", ["caption_as_text"], "application/pdf"),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_file_with_its_caption(
    system: System, number: Number, crm: httpx.Client, files: FileServer, case: Case
) -> None:
    """The recipient gets both, in order; there is one row, of the true kind."""
    kind, path, substitutes, mime = case
    phone = new_phone()
    media = {"type": kind, "url": f"{files.url}/{path}"}
    accepted = send(crm, phone, media=media, text="Look")
    send(crm, phone, text="After it")
    assert accepted["substitutes"] == substitutes
    row = read_row(system, accepted["id"])
    assert (row["message_text"], row["file_type"]) == ("Look", mime)
    assert row["metadata"]["content"] == kind
    assert row["metadata"].get("substitutes", []) == substitutes
    found = crm.get(f"/v1/messages/{accepted['id']}").json()
    assert (found["kind"], found["substitutes"]) == (kind, substitutes)
    shown = [("image", "Look")] if kind == "image" else [("file", ""), ("text", "Look")]
    wait_until(
        lambda: shown_to(system, number, phone) == [*shown, ("text", "After it")],
        "all parts in order",
    )


def test_an_uploaded_file(system: System, number: Number, crm: httpx.Client) -> None:
    """From the upload to the recipient, who can open the link that was signed at last."""
    phone = new_phone()
    file = crm.post("/v1/files", params={"name": "bill.pdf"}, content=PDF).json()
    row = read_row(
        system, send(crm, phone, media={"type": "document", "file_id": file["id"]})["id"]
    )
    assert (row["file_name"], row["file_type"]) == ("bill.pdf", "application/pdf")
    assert row["metadata"]["media_path"] == f"wpp/{number[0]}/files/{file['id']}.pdf"
    with system.phone() as platform:
        path = f"/phone/{number[1]['account_number']}/messages"
        messages = platform.get(path).json()["messages"]
    [media] = [each["media"] for each in messages if each.get("to") == phone]
    assert media["filename"] == "bill.pdf"
    for url in (media["url"], row["file_url"]):
        assert httpx.get(url, trust_env=False).content == PDF


def test_a_contact(system: System, number: Number, crm: httpx.Client) -> None:
    phone = new_phone()
    contact = {"name": "Anna", "phones": ["+7 999 000-11-22"]}
    accepted = send(crm, phone, contact=contact)
    assert accepted["substitutes"] == ["contact_as_text"]
    row = read_row(system, accepted["id"])
    assert (row["message_text"], row["metadata"]["content"]) == (
        "Anna, +7 999 000-11-22",
        "contact",
    )
    assert row["metadata"]["contacts"] == [contact]
    assert shown_to(system, number, phone) == [("text", "👤 Anna\n+7 999 000-11-22")]


def test_a_reply(system: System, number: Number, crm: httpx.Client) -> None:
    """The customer's question is quoted above the answer; the row has the answer alone."""
    phone = new_phone()
    with system.phone() as platform:
        path = f"/phone/{number[1]['account_number']}/messages"
        asked = platform.post(path, json={"from": f"+{phone}", "text": "Until when?"}).json()
    [question] = wait_until(
        lambda: system.rows("chat_messages", external_message_id=asked["messageId"]),
        "the question's row",
    )
    accepted = send(crm, phone, text="Until six", reply_to=question["id"])
    assert accepted["substitutes"] == ["quoted_text"]
    row = read_row(system, accepted["id"])
    assert row["message_text"] == "Until six"
    assert row["metadata"]["reply_to_id"] == question["id"]
    assert shown_to(system, number, phone) == [("text", "> Until when?\nUntil six")]


PLACE = {"lat": 55.75, "lng": 37.62, "name": "Office"}


def test_a_location(system: System, number: Number, crm: httpx.Client) -> None:
    phone = new_phone()
    row = read_row(system, send(crm, phone, location=PLACE)["id"])
    assert (row["message_text"], row["metadata"]["content"]) == ("Office", "location")
    assert row["metadata"]["location"] == PLACE
    assert shown_to(system, number, phone) == [("location", "Office")]


def test_a_location_where_the_platform_has_no_route(
    system: System, number: Number, crm: httpx.Client
) -> None:
    """It goes out as a link to a map; the next answer says so ahead."""
    phone = new_phone()
    with system.phone() as platform:
        platform.post("/admin/faults", json={"missing_routes": ["location"]}).raise_for_status()
        try:
            row = read_row(system, send(crm, phone, location=PLACE)["id"])
        finally:
            platform.post("/admin/faults", json={}).raise_for_status()
    assert (row["message_text"], row["metadata"]["content"]) == ("Office", "location")
    assert row["metadata"]["substitutes"] == ["map_link"]
    text = "📍 Office\nhttps://maps.google.com/?q=55.75,37.62"
    assert shown_to(system, number, phone) == [("text", text)]
    assert send(crm, phone, location=PLACE)["substitutes"] == ["map_link"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.pdf", "The file's address answers 404"),
        ("cat.png?as=document", None),
    ],
)
def test_a_file_that_is_not_there_fails_with_that_reason(
    system: System,
    number: Number,
    crm: httpx.Client,
    files: FileServer,
    path: str,
    reason: str | None,
) -> None:
    """The platform is not called, so nothing can be reported as read."""
    phone = new_phone()
    media = {"type": "document", "url": f"{files.url}/{path}"}
    accepted = send(crm, phone, media=media)
    if reason is None:
        read_row(system, accepted["id"])
        return
    found = wait_until(
        lambda: (
            state
            if (state := crm.get(f"/v1/messages/{accepted['id']}").json())["status"] == "failed"
            else None
        ),
        "the message to fail",
    )
    assert (found["code"], found["reason"]) == ("file_unusable", reason)
    assert shown_to(system, number, phone) == []


@pytest.mark.parametrize("address", ["120363012345678901@g.us", "1234567890123@lid"])
def test_a_group_is_refused(crm: httpx.Client, number: Number, address: str) -> None:
    assert number
    answer = crm.post("/v1/messages", json={"to": address, "text": "Hello"})
    assert answer.status_code == 422
    assert "cannot be written to through this platform" in answer.json()["detail"]

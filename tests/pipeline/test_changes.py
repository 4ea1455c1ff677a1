"""Changes of messages over /v1: edit, delete, react, file, read; alone and in a row."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until
from tests.workers.media.servers import FileServer, respond

Number = tuple[UUID, dict[str, Any]]
DELETED = "[Сообщение удалено]"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJ"
    "RU5ErkJggg=="
)


@pytest.fixture
def crm(system: System, number: Number) -> Iterator[httpx.Client]:
    """Return a service of the organization with a number."""
    with system.service_client(number[0]) as client:
        yield client


@pytest.fixture
def phone() -> str:
    return f"7999{uuid4().int % 10**7:07}"


@contextmanager
def plan(system: System, **faults: Any) -> Iterator[None]:
    with system.phone() as platform:
        platform.post("/admin/faults", json=faults).raise_for_status()
        try:
            yield
        finally:
            platform.delete("/admin/faults").raise_for_status()


def send(crm: httpx.Client, to: str, text: str = "First", **more: Any) -> str:
    """Send a message; return its path once the platform has it."""
    path = crm.post("/v1/messages", json={"to": to, "text": text, **more}).headers["Location"]
    wait_until(lambda: crm.get(path).json()["status"] in {"sent", "delivered", "read"}, "sent")
    return str(path)


def receive(system: System, number: Number, phone: str, **more: Any) -> str:
    """Let a customer write; return the path of the message."""
    with system.phone() as platform:
        platform.post(
            f"/phone/{number[1]['account_number']}/messages",
            json={"from": f"+{phone}", "text": f"Hi of {phone}", **more},
        ).raise_for_status()

    def find() -> str | None:
        rows = system.rows("chat_messages", organization_id=str(number[0]))
        mine = [row for row in rows if row["metadata"].get("phone") == phone]
        return next((f"/v1/messages/{row['id']}" for row in mine if not row["is_outgoing"]), None)

    return wait_until(find, "the customer's message")


def row_of(system: System, path: str) -> dict[str, Any]:
    message_id = path.rsplit("/", 1)[-1]
    return wait_until(lambda: next(iter(system.rows("chat_messages", id=message_id)), None))


def shown(system: System, number: Number, phone: str) -> list[dict[str, Any]]:
    """Return what the recipient's phone has, deleted messages too."""
    with system.phone() as platform:
        found = platform.get(f"/phone/{number[1]['account_number']}/messages").json()["messages"]
    return [each for each in found if phone in {each.get("to"), each.get("from")}]


def test_an_edit_is_said_to_be_a_delete_and_a_send(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """Under the same row; with a key it takes effect once, and a different text is a conflict."""
    path = send(crm, phone)
    key = {"Idempotency-Key": uuid4().hex}
    answers = [crm.patch(path, json={"text": "Second"}, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    found = answers[0].json()
    assert (found["state"], found["for_everyone"], found == answers[1].json()) == (
        "done",
        True,
        True,
    )
    assert "sent anew" in found["detail"]
    other = crm.patch(path, json={"text": "Third"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    wait_until(lambda: row_of(system, path)["message_text"] == "Second", "the row")
    assert [(each["text"], each["status"] == "deleted") for each in shown(system, number, phone)]
    assert [
        (each["text"], each["status"] == "deleted") for each in shown(system, number, phone)
    ] == [
        ("First", True),
        ("Second", False),
    ]


def test_an_edited_message_has_the_status_of_its_new_text(crm: httpx.Client, phone: str) -> None:
    """The platform's report of the delete reaches the history, and not the status."""
    path = send(crm, phone)
    assert crm.patch(path, json={"text": "Second"}).json()["state"] == "done"

    def told() -> list[tuple[str, str | None]]:
        events = crm.get(f"{path}/history").json()
        return [(event["event"], event.get("status")) for event in events]

    wait_until(lambda: ("replaced", None) in told(), "the report of the delete")
    wait_until(lambda: crm.get(path).json()["status"] == "read", "the new text to be read")
    assert told()[-1] == ("read", "read")
    listed = crm.get("/v1/messages", params={"phone": phone}).json()["items"]
    assert [(each["text"], each["status"]) for each in listed] == [("Second", "read")]
    crm.delete(path).raise_for_status()
    wait_until(lambda: crm.get(path).json()["status"] == "deleted", "the delete of the new text")


def test_an_edit_of_a_caption_keeps_the_picture(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """It is deleted and sent anew with the new caption."""
    with FileServer(**{"a.png": respond(200, base64.b64decode(PNG))}) as server:
        media = {"type": "image", "url": f"{server.url}/a.png", "mime": "image/png"}
        path = send(crm, phone, "First", media=media)
        row_of(system, path)
        answer = crm.patch(path, json={"text": "Second"})
    assert (answer.status_code, answer.json()["state"]) == (200, "done"), answer.text
    assert [
        (each["type"], each["text"], each["status"] == "deleted")
        for each in shown(system, number, phone)
    ] == [("image", "First", True), ("image", "Second", False)]
    wait_until(lambda: row_of(system, path)["message_text"] == "Second", "the row")
    assert row_of(system, path)["file_url"] == media["url"]


def test_changes_behind_an_edit_that_waits_change_what_it_sends(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """Another edit, and the delete of both: no earlier text stays with the recipient."""
    path = send(crm, phone)
    short = {"Prefer": "wait=1"}
    with plan(system, slow_accounts={number[1]["account_number"]: 4}):
        edits = [crm.patch(path, json={"text": text}, headers=short) for text in ("2nd", "3rd")]
        deleted = crm.delete(path, headers=short)
    assert [answer.status_code for answer in (*edits, deleted)] == [202, 202, 202]
    assert (edits[0].json()["state"], edits[0].json()["for_everyone"]) == ("waiting", False)

    def gone() -> bool:
        found = shown(system, number, phone)
        return len(found) == 3 and all(each["status"] == "deleted" for each in found)

    wait_until(gone, "every text to be deleted")
    wait_until(lambda: row_of(system, path)["message_status"] == "deleted", "the status")
    assert row_of(system, path)["message_text"] == DELETED
    again = crm.patch(path, json={"text": "Back"})
    assert (again.status_code, again.json()["code"]) == (409, "impossible_change")


def test_a_change_of_a_message_that_is_not_sent_yet(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """It follows the message."""
    with plan(system, slow_accounts={number[1]["account_number"]: 1.0}):
        path = crm.post("/v1/messages", json={"to": phone, "text": "1st"}).headers["Location"]
        answer = crm.patch(path, json={"text": "2nd"}, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["state"]) == (200, "done"), answer.text
    assert [each["text"] for each in shown(system, number, phone)] == ["1st", "2nd"]


def test_a_delete_tells_for_whom(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """For everyone if we sent it, again with a repeat; in the row only if the customer did."""
    path = send(crm, phone)
    for _ in range(2):
        answer = crm.delete(path)
        assert (answer.status_code, answer.json()["for_everyone"]) == (200, True), answer.text
    assert row_of(system, path)["message_text"] == DELETED
    assert shown(system, number, phone)[0]["status"] == "deleted"
    theirs = receive(system, number, phone)
    answer = crm.delete(theirs)
    assert (answer.status_code, answer.json()["for_everyone"]) == (200, False)
    assert "only the sender" in answer.json()["detail"]
    assert row_of(system, theirs)["message_text"] == DELETED


@pytest.mark.parametrize("waits", ["for_its_date", "in_its_lane"])
def test_a_delete_cancels_a_message_that_waits(
    system: System, number: Number, crm: httpx.Client, phone: str, waits: str
) -> None:
    """It never goes out, and its row is shown as deleted; a repeat says the same."""
    more = {"delay_s": 3600} if waits == "for_its_date" else {}
    with plan(system, slow_accounts={number[1]["account_number"]: 10}):
        if waits == "in_its_lane":
            crm.post("/v1/messages", json={"to": phone, "text": "1st"})
        path = crm.post("/v1/messages", json={"to": phone, "text": "2nd", **more}).headers[
            "Location"
        ]
        for _ in range(2):
            answer = crm.delete(path)
            assert (answer.status_code, answer.json()["for_everyone"]) == (200, True), answer.text
            assert answer.json()["detail"] == "Cancelled before it was sent."
    assert crm.get(path).json()["status"] == "cancelled"
    wait_until(lambda: row_of(system, path)["message_status"] == "failed", "the row")
    assert row_of(system, path)["message_text"] == DELETED
    assert "2nd" not in [each["text"] for each in shown(system, number, phone)]


def test_a_refused_edit_is_409_with_the_reason(
    system: System, crm: httpx.Client, phone: str
) -> None:
    """What the platform said."""
    path = send(crm, phone)
    with plan(system, refused_recipients=[phone]):
        answer = crm.patch(path, json={"text": "Second"})
    assert (answer.status_code, answer.json()["code"]) == (409, "impossible_change")
    assert "not on WhatsApp" in answer.json()["detail"]


@pytest.mark.parametrize("content", ["location", "theirs"])
def test_what_has_no_text_of_ours_is_not_edited(
    system: System, number: Number, crm: httpx.Client, phone: str, content: str
) -> None:
    """With 409, before anything is deleted."""
    if content == "theirs":
        path = receive(system, number, phone)
    else:
        path = send(crm, phone, "", location={"lat": 1.5, "lng": 2.5, "name": "Here"})
    answer = crm.patch(path, json={"text": "Other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "impossible_change")
    assert [each["status"] == "deleted" for each in shown(system, number, phone)] == [False]


def test_reactions_are_given_and_taken_back(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """Any emoji; the platform may not take it back, and its id of our messages is unknown."""
    path = receive(system, number, phone)
    answer = crm.put(f"{path}/reaction", json={"emoji": "🧑🏿‍💻"})
    assert (answer.status_code, answer.json()["for_everyone"]) == (200, True), answer.text
    assert shown(system, number, phone)[0]["reaction"] == "🧑🏿‍💻"

    def stored() -> Any:
        return row_of(system, path)["metadata"].get("reactions", {}).get("self", {}).get("emoji")

    wait_until(lambda: stored() == "🧑🏿‍💻", "the row")
    refused = crm.delete(f"{path}/reaction")
    assert (refused.status_code, refused.json()["code"]) == (409, "impossible_change")
    assert "emoji" in refused.json()["detail"]
    with plan(system, takes_empty_reactions=True):
        taken = crm.delete(f"{path}/reaction")
    assert (taken.status_code, taken.json()["detail"]) == (200, "Taken back.")
    assert shown(system, number, phone)[0]["reaction"] is None
    wait_until(lambda: stored() is None, "the row")
    ours = crm.put(f"{send(crm, phone)}/reaction", json={"emoji": "👍"})
    assert ours.status_code == 409
    assert "WhatsApp's id" in ours.json()["detail"]


def test_a_file_has_a_link(system: System, number: Number, crm: httpx.Client, phone: str) -> None:
    """Also if it was not stored at its arrival; a text has none."""
    media = {"mimetype": "image/png", "filename": "a.png", "base64": PNG}
    path = receive(system, number, phone, type="image", text="", media=media)
    wait_until(lambda: row_of(system, path)["file_url"], "the stored file")

    def download() -> bytes:
        answer = crm.get(f"{path}/file", timeout=20)
        assert (answer.status_code, answer.json()["mime"]) == (200, "image/png"), answer.text
        return httpx.get(answer.json()["url"], trust_env=False).content

    assert download() == base64.b64decode(PNG)
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "update chat_messages set file_url = null, metadata = (metadata - 'media_path') "
            '|| \'{"media_state": "refused"}\' where id = %s',
            (path.rsplit("/", 1)[-1],),
        )
    assert download() == base64.b64decode(PNG)
    answer = crm.get(f"{receive(system, number, '79990000001')}/file")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_conversation_is_marked_as_read(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """By any spelling of its phone, and once; the answer says that the customer sees no ticks."""
    path = receive(system, number, phone)
    other = receive(system, number, f"7998{phone[4:]}")
    for marked in (1, 0):
        answer = crm.post(f"/v1/conversations/8 {phone[1:]}/read")
        assert (answer.status_code, answer.json()) == (
            200,
            {"phone": phone, "marked": marked, "receipt_sent": False},
        )
    assert (row_of(system, path)["is_read"], row_of(system, other)["is_read"]) == (True, False)
    wrong = crm.post("/v1/conversations/nobody/read")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "phone")


def test_messages_of_another_organization_are_unknown(
    system: System, number: Number, crm: httpx.Client, phone: str
) -> None:
    """By every route, and unchanged; so is a message that there never was."""
    theirs, ours = receive(system, number, phone), send(crm, phone)
    with system.service_client(system.add_organization()) as stranger:
        for path in (theirs, ours, f"/v1/messages/{uuid4()}"):
            answers = [
                stranger.patch(path, json={"text": "Stolen"}),
                stranger.delete(path),
                stranger.put(f"{path}/reaction", json={"emoji": "👍"}),
                stranger.delete(f"{path}/reaction"),
                stranger.get(f"{path}/file"),
            ]
            assert {answer.status_code for answer in answers} == {404}
        assert stranger.post(f"/v1/conversations/{phone}/read").json()["marked"] == 0
    assert row_of(system, ours)["message_text"] == "First"
    assert row_of(system, theirs)["is_read"] is False


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PATCH", "", {"text": " \n"}, "text"),
        ("PATCH", "", {"text": "🎉" * 40_000}, "text"),
        ("PATCH", "", {"text": "a", "media": {}}, "media"),
        ("PUT", "/reaction", {"emoji": "ok"}, "emoji"),
        ("PUT", "/reaction", {}, "emoji"),
    ],
    ids=["blank", "long", "media", "word", "none"],
)
def test_an_invalid_change_names_the_field(
    crm: httpx.Client, method: str, path: str, body: Any, field: str
) -> None:
    """With 422."""
    answer = crm.request(method, f"/v1/messages/{uuid4()}{path}", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)

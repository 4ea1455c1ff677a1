"""Sending, what becomes of a message, and what the phone's side writes."""

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import Number, Platform, PlatformFactory, Receiver

SENDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("text", {"type": "text", "text": "Hi", "priority": "high"}, {"text": "Hi", "media": None}),
    (
        "image",
        {"type": "image", "url": "https://a.example/i.png", "caption": "Look"},
        {"text": "Look"},
    ),
    ("image", {"type": "image", "url": "https://a.example/i.png", "caption": ""}, {"text": ""}),
    ("file", {"url": "https://a.example/a.pdf", "filename": "a.pdf"}, {"type": "file"}),
    (
        "location",
        {"lat": 55.75, "lng": 37.61, "name": "Here"},
        {"media": {"lat": 55.75, "lng": 37.61, "name": "Here"}},
    ),
]


@pytest.mark.parametrize(("kind", "body", "kept"), SENDS)
def test_every_kind_is_queued_under_a_task_id(
    platform: Platform, number: Number, kind: str, body: dict[str, Any], kept: dict[str, Any]
) -> None:
    """The answer has a taskId, and the ledger has the message as it was given."""
    answer = number.ask("POST", f"/api/messages/{kind}", to="79990001122", **body)
    assert answer.json()["status"] == "queued"
    (message,) = platform.ledger()["messages"]
    expected = {
        "taskId": answer.json()["taskId"],
        "session": number.session,
        "to": "79990001122",
        **kept,
    }
    assert expected.items() <= message.items()


def test_a_plus_before_the_number_is_the_same_number(platform: Platform, number: Number) -> None:
    number.send(to="+79990001122")
    assert platform.ledger()["messages"][0]["to"] == "79990001122"


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        ("text", {"text": "x"}, "to"),
        ("text", {"to": "12ab", "text": "x"}, "to"),
        ("text", {"to": "79990001122"}, "text"),
        ("image", {"to": "79990001122"}, "url"),
        ("file", {"to": "79990001122", "url": "https://a.example/a.pdf"}, "filename"),
        ("location", {"to": "79990001122", "lat": 1}, "lng"),
    ],
)
def test_what_is_missing_is_named(
    number: Number, kind: str, body: dict[str, Any], named: str
) -> None:
    answer = number.ask("POST", f"/api/messages/{kind}", **body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]


def test_an_account_that_is_not_connected_answers_with_an_error(platform: Platform) -> None:
    """2xx with status error, as the real platform; no message is accepted."""
    number = platform.number()
    answer = number.send()
    said = {"status": "error", "message": f"Account {number.session} is not connected"}
    assert (answer.status_code, answer.json()) == (200, said)
    assert platform.ledger()["messages"] == []


def test_a_message_is_sent_delivered_and_read(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    """message.sent comes in an envelope, what follows comes flat, all with the taskId."""
    task_id = number.send().json()["taskId"]
    sent, delivered, read = receiver.wait(3)
    assert sent["type"] == "message.sent"
    assert sent["id"].startswith("evt_")
    assert sent["data"] == {"account": number.session, "taskId": task_id}
    flat = {"type": "delivery", "account": number.session, "messageId": task_id}
    assert [delivered, read] == [flat | {"status": "delivered"}, flat | {"status": "read"}]
    assert platform.ledger()["messages"][0]["status"] == "read"


def test_messages_leave_in_the_order_they_came(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    tasks = [number.send(str(index)).json()["taskId"] for index in range(20)]
    receiver.wait(60)
    sent = [body["data"]["taskId"] for body in receiver.bodies if body["type"] == "message.sent"]
    assert sent == tasks
    assert [message["text"] for message in platform.ledger()["messages"]] == [
        str(index) for index in range(20)
    ]


def test_a_message_is_taken_back_once(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    """DELETE wants the taskId; a second time, and for another account, the message is not found."""
    task_id = number.send().json()["taskId"]
    receiver.wait(3)
    other = platform.number("org-2")
    assert other.ask("DELETE", f"/api/messages/{task_id}").status_code == 404
    assert number.ask("DELETE", f"/api/messages/{task_id}").status_code == 200
    assert number.ask("DELETE", f"/api/messages/{task_id}").status_code == 404
    assert receiver.wait(4)[-1]["status"] == "deleted"


def test_a_message_taken_back_in_the_queue_never_leaves(
    start_platform: PlatformFactory, receiver: Receiver, tmp_path: Path
) -> None:
    """Nor after a restart, which sends at once what has waited."""
    before = start_platform(state=tmp_path, sent_s=60)
    number = before.number().connect()
    number.register(receiver.url)
    number.ask("DELETE", f"/api/messages/{number.send('first').json()['taskId']}")
    number.send("second")
    wait_until(lambda: before.ledger()["webhooks"].get("delivery") == {"200": 1})
    before.stop()
    start_platform(state=tmp_path)
    assert [body.get("status", body["type"]) for body in receiver.wait(4)] == [
        "deleted",
        "message.sent",
        "delivered",
        "read",
    ]


def test_a_reaction_wants_the_whatsapp_id(platform: Platform, number: Number) -> None:
    """A taskId is no message to react to."""
    sent = number.send().json()["taskId"]
    received = number.phone("messages", **{"from": "+79990001122"}, text="Hi").json()["messageId"]
    react = {"to": "+79990001122", "emoji": "👍"}
    refused = number.ask("POST", "/api/messages/react", **react, waMessageId=sent)
    assert refused.json() == {"status": "error", "message": "Message not found"}
    assert (
        number.ask("POST", "/api/messages/react", **react, waMessageId=received).json()["status"]
        == "sent"
    )
    messages = platform.http.get(f"/phone/{number.session}/messages").json()["messages"]
    assert [message["reaction"] for message in messages] == [None, "👍"]


def test_a_message_whose_phone_is_gone_is_dead(
    start_platform: PlatformFactory, receiver: Receiver, tmp_path: Path
) -> None:
    """It waits for its turn, which comes with the restart."""
    before = start_platform(state=tmp_path, sent_s=60)
    number = before.number().connect()
    task_id = number.send().json()["taskId"]
    number.phone("unlink")
    number.register(receiver.url)
    before.stop()
    start_platform(state=tmp_path)
    (body,) = receiver.wait(1)
    assert (body["type"], body["data"]["taskId"]) == ("message.dead", task_id)


def test_a_customer_writes(number: Number, receiver: Receiver) -> None:
    answer = number.phone("messages", **{"from": "+7 999 000-11-22"}, text="Hello", name="Ann")
    (body,) = receiver.wait(1)
    timestamp = body.pop("timestamp")
    assert isinstance(timestamp, int)
    assert body == {
        "type": "chat",
        "account": number.session,
        "from": "+79990001122",
        "raw_from": "79990001122@c.us",
        "text": "Hello",
        "messageId": answer.json()["messageId"],
        "notifyName": "Ann",
    }


@pytest.mark.parametrize(
    ("sent", "kind", "text", "mimetype"),
    [
        ({"image": True, "text": "my homework"}, "image", "[Image] my homework", "image/png"),
        (
            {"media": {"mimetype": "audio/ogg; codecs=opus", "base64": "T2dnUw=="}},
            "ptt",
            "[Ptt]",
            "audio/ogg",
        ),
        (
            {"media": {"mimetype": "application/pdf", "base64": "JVBERg=="}},
            "document",
            "[Document]",
            "application/",
        ),
        (
            {"media": {"mimetype": "image/webp", "base64": "UklG"}, "type": "sticker"},
            "sticker",
            "[Sticker]",
            "image/",
        ),
    ],
)
def test_a_customer_sends_media(
    number: Number, receiver: Receiver, sent: dict[str, Any], kind: str, text: str, mimetype: str
) -> None:
    """It arrives as base64 with a placeholder before its caption, and is served by its id."""
    message_id = number.phone("messages", **{"from": "79990001122"}, **sent).json()["messageId"]
    (body,) = receiver.wait(1)
    assert (body["type"], body["text"]) == (kind, text)
    assert body["media"]["mimetype"].startswith(mimetype)
    fetched = number.ask("GET", f"/api/messages/media/{message_id}")
    assert fetched.headers["content-type"] == body["media"]["mimetype"]
    assert len(fetched.content) > 2


def test_an_answer_on_the_phone_is_echoed(number: Number, receiver: Receiver) -> None:
    number.phone("echo", to="79990001122", text="Answered from the phone")
    (body,) = receiver.wait(1)
    assert (body["fromMe"], body["from"], body["text"]) == (
        True,
        "+79990001122",
        "Answered from the phone",
    )


def test_an_echo_may_name_its_own_number(
    start_platform: PlatformFactory, receiver: Receiver
) -> None:
    number = start_platform(echo_from="own").number().connect()
    number.register(receiver.url)
    number.phone("echo", to="79990001122", text="Hi")
    (body,) = receiver.wait(1)
    assert (body["from"], body["to"]) == ("+79000000001", "79990001122@c.us")


def test_what_a_phone_cannot_take(platform: Platform, number: Number) -> None:
    assert number.phone("messages", **{"from": "79990001122"}).status_code == 400
    assert number.phone("messages", **{"from": "me"}, text="x").status_code == 400
    assert (
        number.phone("messages", **{"from": "79990001122"}, text="x", type="poll").status_code
        == 400
    )
    assert number.phone("messages", **{"from": "79990001122"}, media="x").status_code == 400
    unlinked = platform.number("org-2").phone("messages", **{"from": "79990001122"}, text="x")
    assert unlinked.status_code == 409
    assert platform.http.post("/phone/1/echo", json={}).status_code == 404


def test_the_history_has_messages_and_statuses_as_webhooks_have_them(
    start_platform: PlatformFactory,
) -> None:
    """Only where it is switched on; files are left out."""
    number = start_platform(history=True).number().connect()
    number.phone("messages", **{"from": "79990001122", "text": "Hi", "image": True})
    task = number.send(to="79990001122").json()["taskId"]
    path = f"/api/accounts/{number.session}/messages"
    first, second = number.ask("GET", f"{path}?since=0").json()["events"]
    assert first["text"] == "[Image] Hi"
    assert "base64" not in first["media"]
    assert second["data"]["taskId"] == task
    assert number.ask("GET", f"{path}?since=9999999999").json() == {"events": []}
    without = start_platform().number()
    assert without.ask("GET", f"/api/accounts/{without.session}/messages").status_code == 404

"""How webhooks travel: shapes, order, retries, and what a restart leaves."""

from pathlib import Path

from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import Number, Platform, PlatformFactory, Receiver


def test_everything_in_envelopes(start_platform: PlatformFactory, receiver: Receiver) -> None:
    """Statuses come as message.status with both ids, customers' messages as message.incoming."""
    number = start_platform(webhook_shape="enveloped", sent_wa_id=True).number().connect()
    number.register(receiver.url)
    number.send()
    sent, delivered, _read = receiver.wait(3)
    number.phone("messages", **{"from": "79990001122"}, text="Hi")
    incoming = receiver.wait(4)[3]
    assert {body["type"] for body in receiver.bodies} == {
        "message.sent",
        "message.status",
        "message.incoming",
    }
    assert delivered["data"] == sent["data"] | {"status": "delivered"}
    assert incoming["data"]["from"] == "79990001122"
    assert len({body["id"] for body in receiver.bodies}) == 4


def test_everything_flat(start_platform: PlatformFactory, receiver: Receiver) -> None:
    number = start_platform(
        webhook_shape="flat", delivery_id="waMessageId", sent_wa_id=True
    ).number()
    number.register(receiver.url)
    number.connect()
    number.send()
    qr, connected, sent, delivered, _read = receiver.wait(5)
    assert qr["qr"].startswith("2@")
    assert connected == {"type": "connected", "account": number.session}
    assert delivered["messageId"] == sent["waMessageId"]


def test_incoming_messages_may_have_no_id(
    start_platform: PlatformFactory, receiver: Receiver
) -> None:
    number = start_platform(incoming_ids=False).number().connect()
    number.register(receiver.url)
    number.phone("messages", **{"from": "79990001122"}, text="Hi")
    assert "messageId" not in receiver.wait(1)[0]


def test_a_refused_webhook_comes_again_and_the_next_ones_wait(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    receiver.statuses = [500, 503]
    number.send()
    receiver.wait(5)
    assert receiver.types == ["message.sent"] * 3 + ["delivery"] * 2
    assert platform.ledger()["webhooks"]["message.sent"] == {"500": 1, "503": 1, "200": 1}


def test_a_webhook_nobody_takes_is_given_up(
    start_platform: PlatformFactory, receiver: Receiver
) -> None:
    platform = start_platform(webhook_attempts=2)
    number = platform.number().connect()
    number.register("http://127.0.0.1:9/nobody")
    number.send()
    wait_until(lambda: "lost" in platform.ledger()["webhooks"].get("message.sent", {}))
    assert platform.ledger()["webhooks"]["message.sent"] == {"ConnectError": 2, "lost": 1}
    assert receiver.bodies == []


def test_dropped_webhooks_never_come_and_the_next_ones_do(
    start_platform: PlatformFactory, receiver: Receiver
) -> None:
    """The account may be between two attempts, far apart."""
    platform = start_platform(webhook_backoff_s=60, webhook_attempts=50)
    number = platform.number().connect()
    number.register("http://127.0.0.1:9/nobody")
    task_id = number.send().json()["taskId"]
    wait_until(lambda: platform.ledger()["messages"][0]["status"] == "read")
    assert platform.http.delete("/admin/webhooks").status_code == 204
    number.register(receiver.url)
    number.phone("messages", **{"from": "79990001122"}, text="Hi")
    assert [body["type"] for body in receiver.wait(1)] == ["chat"]
    assert task_id not in str(receiver.bodies)


def test_a_url_registered_anew_gets_what_waits(
    start_platform: PlatformFactory, receiver: Receiver
) -> None:
    number = start_platform(webhook_attempts=50).number().connect()
    number.register("http://127.0.0.1:9/nobody")
    number.send()
    number.register(receiver.url)
    assert [body["type"] for body in receiver.wait(3)] == ["message.sent", "delivery", "delivery"]


def test_an_account_without_a_url_posts_nothing(platform: Platform) -> None:
    platform.number().connect()
    assert platform.ledger()["webhooks"] == {
        "qr": {"unregistered": 1},
        "connected": {"unregistered": 1},
    }


def test_a_restart_keeps_everything(
    start_platform: PlatformFactory, receiver: Receiver, tmp_path: Path
) -> None:
    """Keys, tokens, links, messages and ledger survive; undelivered webhooks arrive."""
    before = start_platform(state=tmp_path, webhook_attempts=50)
    number = before.number().connect()
    number.register("http://127.0.0.1:9/nobody")
    number.phone("messages", **{"from": "79990001122"}, text="Hi")
    task_id = number.send().json()["taskId"]
    wait_until(lambda: before.ledger()["messages"][0]["status"] == "read")
    before.stop()

    after = start_platform(state=tmp_path)
    again = after.number()
    assert (again.session, again.api_key) == (number.session, number.api_key)
    number.http = after.http
    number.register(receiver.url)
    assert number.status() == "connected"
    assert [body.get("status", body["type"]) for body in receiver.wait(4)] == [
        "chat",
        "message.sent",
        "delivered",
        "read",
    ]
    ledger = after.ledger()
    assert [message["taskId"] for message in ledger["messages"]] == [task_id]
    assert ledger["tokens"][number.session]["minted"] == 1
    assert ledger["requests"]["POST /api/messages/text"] == {"200": 1}


def test_a_restart_goes_on_with_what_was_under_way(
    start_platform: PlatformFactory, receiver: Receiver, tmp_path: Path
) -> None:
    """A queued message leaves, and an account with a QR code shows a new code."""
    before = start_platform(state=tmp_path, sent_s=60)
    number, other = before.number().connect(), before.number("org-2")
    number.register(receiver.url)
    number.send()
    other.start()
    first = wait_until(other.qr)
    before.stop()

    after = start_platform(state=tmp_path)
    other.http = after.http
    assert [body["type"] for body in receiver.wait(3)] == ["message.sent", "delivery", "delivery"]
    assert wait_until(lambda: other.qr() not in {None, first})


def test_a_cleared_ledger_begins_anew(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    number.send("first")
    receiver.wait(3)
    cleared = platform.http.delete("/admin/ledger").json()
    assert cleared == {
        "tokens": {},
        "requests": {},
        "webhooks": {},
        "clients": {},
        "faults": {},
        "messages": [],
    }
    number.send("second")
    assert [message["text"] for message in platform.ledger()["messages"]] == ["second"]

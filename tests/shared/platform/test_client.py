"""The client against recorded shapes: what is asked, and by which form of a route."""

from collections.abc import Callable

import httpx
import pytest

from shared.http.pool import PooledTransport
from shared.http.transports import DirectTransport
from shared.platform import Platform
from shared.settings import PlatformSettings, load_settings
from tests.shared.platform.wire import EVENT, Wire, platform, says, text

CALLS: list[tuple[Callable[[Platform], object], str, object]] = [
    (lambda p: p.start("42"), "POST /api/accounts/start", {"number": "42"}),
    (lambda p: p.status("42"), "GET /api/accounts/42/status", None),
    (lambda p: p.qr("42"), "GET /api/accounts/42/qr", None),
    (
        lambda p: p.register_webhook("42", "https://u"),
        "POST /internal/session/42/webhook",
        {"url": "https://u"},
    ),
    (lambda p: p.stop("42"), "POST /internal/session/42/stop", None),
    (
        lambda p: p.send("42", EVENT),
        "POST /api/messages/text",
        {"type": "text", "to": "79990001122", "text": "private words"},
    ),
    (lambda p: p.delete("42", "task/7"), "DELETE /api/messages/task%2F7", None),
    (
        lambda p: p.react("42", "79990001122", "true_7@c.us_3EB0", "👍"),
        "POST /api/messages/react",
        {"to": "+79990001122", "waMessageId": "true_7@c.us_3EB0", "emoji": "👍"},
    ),
]


@pytest.mark.parametrize(("call", "line", "body"), CALLS, ids=[row[1] for row in CALLS])
def test_what_is_asked(call: Callable[[Platform], object], line: str, body: object) -> None:
    """Method, path, body and the account's own token, as the newest contract has them."""
    wire = Wire(says({"status": "ready", "unknown": {"field": 1}}))
    call(platform(wire))
    assert wire.lines == [line]
    assert wire.body == body
    assert wire.requests[0].headers["authorization"] == "Bearer token-of-42"


def test_older_forms_of_a_route() -> None:
    """Where the newest is not known: /api/webhooks/{number}, /api/messages."""
    unknown = text("<pre>Cannot POST /x</pre>", 404)
    wire = Wire(unknown, says(), unknown, says({"taskId": "t"}))
    client = platform(wire)
    client.register_webhook("42", "https://u")
    assert client.send("42", EVENT).task_id == "t"
    assert [line for line in wire.lines if "internal" not in line and "text" not in line] == [
        "POST /api/webhooks/42",
        "POST /api/messages",
    ]
    assert wire.body["type"] == "text", "the single route tells them apart by it"


@pytest.mark.parametrize(
    ("chosen", "expected"), [("direct", DirectTransport), ("httpx", PooledTransport)]
)
def test_the_setting_chooses_the_transport(
    monkeypatch: pytest.MonkeyPatch, chosen: str, expected: type[httpx.BaseTransport]
) -> None:
    """WPP_HTTP_TRANSPORT reaches the wire."""
    for name, value in {
        "BASE_URL": "http://platform.test",
        "SECRET": "s",
        "HTTP_TRANSPORT": chosen,
    }.items():
        monkeypatch.setenv(f"WPP_{name}", value)
    with Platform(load_settings(PlatformSettings), lambda _: httpx.Auth()) as found:
        assert type(found._exchange._transport) is expected  # noqa: SLF001 - it shows nowhere else


def test_nothing_shows_its_secrets() -> None:
    """A platform that is printed tells nothing."""
    with platform(Wire(says())) as found:
        assert "the-secret" not in repr(found) + repr(vars(found))

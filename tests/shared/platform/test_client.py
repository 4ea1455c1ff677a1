"""The client's requests: method, path, body, token, and the variants of an endpoint."""

from collections.abc import Callable

import httpx
import pytest

from shared.http.transports import DirectTransport, PooledTransport
from shared.platform import Platform
from shared.platform.account import PlatformAccount
from shared.settings import PlatformSettings, load_settings
from tests.shared.platform.recording_transport import (
    EVENT,
    RecordingTransport,
    json_response,
    open_account,
    platform_answering,
    text_response,
)

CALLS: list[tuple[Callable[[PlatformAccount], object], str, object]] = [
    (lambda a: a.start(), "POST /api/accounts/start", {"number": "42"}),
    (lambda a: a.get_status(), "GET /api/accounts/42/status", None),
    (lambda a: a.get_qr(), "GET /api/accounts/42/qr", None),
    (
        lambda a: a.register_webhook("https://u"),
        "POST /internal/session/42/webhook",
        {"url": "https://u"},
    ),
    (lambda a: a.stop(), "POST /internal/session/42/stop", None),
    (
        lambda a: a.send(EVENT),
        "POST /api/messages/text",
        {"type": "text", "to": "79990001122", "text": "private words"},
    ),
    (lambda a: a.delete("task/7"), "DELETE /api/messages/task%2F7", None),
    (
        lambda a: a.react("79990001122", "true_7@c.us_3EB0", "👍"),
        "POST /api/messages/react",
        {"to": "+79990001122", "waMessageId": "true_7@c.us_3EB0", "emoji": "👍"},
    ),
]


@pytest.mark.parametrize(("call", "line", "body"), CALLS, ids=[row[1] for row in CALLS])
def test_each_call_sends_its_request(
    call: Callable[[PlatformAccount], object], line: str, body: object
) -> None:
    """Method, path, body and the account's token follow the newest contract."""
    transport = RecordingTransport(json_response({"status": "ready", "unknown": {"field": 1}}))
    call(open_account(transport))
    assert transport.lines == [line]
    assert transport.body == body
    assert transport.requests[0].headers["authorization"] == "Bearer token-of-42"


def test_older_variants_of_an_endpoint() -> None:
    """A platform without the newest routes gets /api/webhooks/{number} and /api/messages."""
    unknown = text_response("<pre>Cannot POST /x</pre>", 404)
    transport = RecordingTransport(
        unknown, json_response(), unknown, json_response({"taskId": "t"})
    )
    client = open_account(transport)
    client.register_webhook("https://u")
    assert client.send(EVENT).task_id == "t"
    assert [line for line in transport.lines if "internal" not in line and "text" not in line] == [
        "POST /api/webhooks/42",
        "POST /api/messages",
    ]
    assert transport.body["type"] == "text", "the single route needs the type"


@pytest.mark.parametrize(
    ("chosen", "expected"), [("direct", DirectTransport), ("httpx", PooledTransport)]
)
def test_the_setting_chooses_the_transport(
    monkeypatch: pytest.MonkeyPatch, chosen: str, expected: type[httpx.BaseTransport]
) -> None:
    """WPP_HTTP_TRANSPORT selects the class of the transport."""
    for name, value in {
        "BASE_URL": "http://platform.test",
        "SECRET": "s",
        "HTTP_TRANSPORT": chosen,
    }.items():
        monkeypatch.setenv(f"WPP_{name}", value)
    with Platform(load_settings(PlatformSettings)) as found:
        assert type(found._http._transport) is expected  # noqa: SLF001 - has no public effect


def test_repr_hides_the_secret() -> None:
    """The repr of a platform and of its attributes hides WPP_SECRET."""
    with platform_answering(json_response()) as found:
        assert "the-secret" not in repr(found) + repr(vars(found))

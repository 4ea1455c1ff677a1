"""The client against recorded shapes: every variant of an answer that the platform was seen to give, and bad ones."""

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    PlatformError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnknownEffectError,
)
from shared.events import SendEvent
from shared.pool import PoolTransport
from shared.settings import PlatformSettings, load
from shared.wpp import Bearer, Platform
from shared.wpp.answers import Started
from shared.wpp.transport import DirectTransport

KEY = SecretStr("wpp_key_0123456789")
EVENT = SendEvent(id=uuid4(), organization_id=uuid4(), integration_id=uuid4(), to="79990001122", text="private words")
PNG = "iVBORw0KGgoAAAANSUhEUgAA" + "Ab+/" * 30


class Wire:
    """Gives prepared answers, one after the other, the last one for ever; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def body(self) -> Any:
        content = self.requests[-1].content
        return json.loads(content) if content else None


def says(fields: object = None, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={} if fields is None else fields, headers=headers)


def text(content: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, text=content)


def platform(wire: Wire) -> Platform:
    settings = PlatformSettings(wpp_base_url="http://platform.test/", wpp_secret=SecretStr("the-secret"))
    auth: Callable[[str], httpx.Auth] = lambda account: Bearer(SecretStr(f"token-of-{account}"))  # noqa: E731
    return Platform(settings, auth, transport=httpx.MockTransport(wire), deadline_s=2)


CALLS: list[tuple[Callable[[Platform], object], str, object]] = [
    (lambda p: p.start("42"), "POST /api/accounts/start", {"number": "42"}),
    (lambda p: p.status("42"), "GET /api/accounts/42/status", None),
    (lambda p: p.qr("42"), "GET /api/accounts/42/qr", None),
    (lambda p: p.register_webhook("42", "https://u"), "POST /internal/session/42/webhook", {"url": "https://u"}),
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


def test_create_uses_the_secret() -> None:
    wire = Wire(says({"apiKey": "k", "session": "0000000000042", "status": "Starting"}))
    client = platform(wire).create_client("org")
    assert (client.api_key.get_secret_value(), client.account, client.status) == ("k", "0000000000042", "starting")
    assert (wire.lines, wire.body) == (["POST /api/integrations/wpp/create"], {"organizationId": "org"})
    assert wire.requests[0].headers["authorization"] == "Bearer the-secret"
    assert "'k'" not in repr(client)


def test_create_that_says_no_status_has_begun() -> None:
    """Its default; and what is there under another name is read all the same."""
    assert platform(Wire(says({"apiKey": "k", "session": 42}))).create_client("org").status == "starting"
    assert platform(Wire(says({"data": {"apiKey": "k", "number": "42"}}))).create_client("org").account == "42"


@pytest.mark.parametrize(
    "answer",
    [says({"session": "42"}), says({"apiKey": "k"}), says({"apiKey": {}, "session": "42"}), text("<html>"), text("")],
)
def test_create_without_its_fields_is_tried_again(answer: httpx.Response) -> None:
    """The same organization gets the same client: asking again is safe."""
    with pytest.raises(UnavailableError, match="apiKey"):
        platform(Wire(answer)).create_client("org")


def test_create_with_a_wrong_secret() -> None:
    with pytest.raises(UnauthorizedError, match="Invalid token"):
        platform(Wire(says({"error": "Invalid token"}, 401))).create_client("org")


def test_create_that_takes_too_long_is_tried_again() -> None:
    """The gateway's 504 on a second number."""
    with pytest.raises(UnavailableError):
        platform(Wire(text("<html>Gateway Time-out</html>", 504))).create_client("org")


@pytest.mark.parametrize(
    ("fields", "life_s"),
    [
        ({"token": "opaque"}, 900),
        ({"token": "opaque", "expiresIn": 600}, 600),
        ({"token": "opaque", "expiresIn": "600"}, 600),
        ({"data": {"token": "opaque", "expiresIn": 600}}, 600),
        ({"token": "opaque", "expiresIn": "soon"}, 900),
    ],
)
def test_a_minted_token_and_its_life(fields: dict[str, Any], life_s: float) -> None:
    wire = Wire(says(fields))
    minted = platform(wire).mint_token(KEY)
    assert (minted.value.get_secret_value(), minted.life_s) == ("opaque", life_s)
    assert (wire.lines, wire.body) == (["POST /auth/token"], {"apiKey": KEY.get_secret_value()})
    assert "authorization" not in wire.requests[0].headers


def test_a_minted_jwt_lives_by_the_platforms_date() -> None:
    """Whatever our clock says: `exp` minus the answer's Date, less the second that Date cuts off."""
    there = time.time() + 5000
    jwt = "e30.eyJpYXQiOiAxMDAwLCAiZXhwIjogMTkwMH0.c2ln"  # {"iat": 1000, "exp": 1900}
    minted = platform(Wire(says({"token": jwt}, Date=formatdate(1300, usegmt=True)))).mint_token(KEY)
    assert minted.life_s == 599
    assert platform(Wire(says({"token": jwt}, Date=formatdate(there, usegmt=True)))).mint_token(KEY).life_s == 899


@pytest.mark.parametrize(
    "answer",
    [
        says({"error": "Invalid API key"}, 401),
        says({"error": "Invalid API key"}, 403),
        says({"message": "invalid api key"}, 400),
        says({"error": f"Invalid API key: {KEY.get_secret_value()[:14]}..."}, 403),
        says({"message": f"The key {KEY.get_secret_value()} is bad", "error": "INVALID_API_KEY"}, 403),
        says({"message": "w" * 300 + " Invalid API key"}, 403),
        text("nope", 401),
    ],
)
def test_a_refused_key_says_the_way_out(answer: httpx.Response) -> None:
    """401, or any refusal that names it, even where it quotes what must not be repeated."""
    with pytest.raises(InvalidApiKeyError, match="force_recreate") as caught:
        platform(Wire(answer)).mint_token(KEY)
    assert KEY.get_secret_value()[:12] not in repr(caught.value)
    assert caught.value.code == "INVALID_API_KEY"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (text("<html>blocked by a firewall</html>", 403), RefusedError),
        (says({}, 500), UnavailableError),
        (says({"error": "Invalid API key"}, 500), UnavailableError),
        (says({}, 429), LimitedError),
        (says({"error": "Too many calls with an invalid API key"}, 429), LimitedError),
        (says({"expiresIn": 900}), UnavailableError),
        (says({"token": ""}), UnavailableError),
        (says({"token": "two words"}), UnavailableError),
        (says({"token": "line\nbreak"}), UnavailableError),
        (says({"token": 7}), UnavailableError),
        (text("<html>"), UnavailableError),
    ],
)
def test_no_token_for_another_reason(answer: httpx.Response, error: type[PlatformError]) -> None:
    """Nothing of which says that the key is bad; nor is anything used that would break a header."""
    with pytest.raises(PlatformError) as caught:
        platform(Wire(answer)).mint_token(KEY)
    assert type(caught.value) is error


def test_the_first_token_is_asked_for_four_times() -> None:
    """After 1, 2 and 3 s, and then the refusal is believed."""
    wire = Wire(says({"error": "Invalid API key"}, 403))
    waits: list[float] = []
    with pytest.raises(InvalidApiKeyError):
        platform(wire).initial_token(KEY, waits.append)
    assert waits == [1, 2, 3]
    assert len(wire.requests) == 4


def test_the_first_token_is_not_asked_for_again_for_other_reasons() -> None:
    """A platform that is away is left to the lane's own retries; and other tokens are never asked for again."""
    waits: list[float] = []
    with pytest.raises(UnavailableError):
        platform(Wire(says({}, 500))).initial_token(KEY, waits.append)
    refused = Wire(says({"error": "Invalid API key"}, 403))
    with pytest.raises(InvalidApiKeyError):
        platform(refused).mint_token(KEY)
    assert waits == []
    assert len(refused.requests) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"qr": "2@abc"}, Started("qr", "2@abc")),  # type: ignore[arg-type] # a Qr is a str
        ({"qrCode": "2@abc", "status": "connected"}, Started("qr", "2@abc")),  # type: ignore[arg-type] # a Qr is a str
        ({"status": "connected"}, Started("connected", None)),
        ({"state": "READY"}, Started("connected", None)),
        ({"status": "starting"}, Started("starting", None)),
        ({"status": "pending", "qr": None}, Started("starting", None)),
        ({"status": "never heard of"}, Started("starting", None)),
        ({"status": 7, "qr": ""}, Started("starting", None)),
    ],
)
def test_start(fields: dict[str, Any], expected: Started) -> None:
    assert platform(Wire(says(fields))).start("42") == expected


@pytest.mark.parametrize("answer", [text("OK"), text("<html>"), text(""), says([1])])
def test_start_survives_what_is_no_json(answer: httpx.Response) -> None:
    """It has been asked for; its status will tell."""
    assert platform(Wire(answer)).start("42") == Started("starting", None)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("connected", "connected"),
        ("Connected", "connected"),
        ("ready", "connected"),
        ("starting", "starting"),
        ("pending", "starting"),
        ("offline", "offline"),
        ("disconnected", "offline"),
        ("logout", "offline"),
        ("qr", "qr_required"),
        ("error", "qr_required"),
        ("never heard of", "qr_required"),
    ],
)
def test_status(said: str, expected: str) -> None:
    assert platform(Wire(says({"status": said}))).status("42") == expected
    assert platform(Wire(says({"data": {"state": said}}))).status("42") == expected


@pytest.mark.parametrize("answer", [text("<html>"), text(""), says({}), says({"status": None}), says({}, 502)])
def test_no_status_is_not_offline(answer: httpx.Response) -> None:
    """What cannot be read says nothing about the account."""
    with pytest.raises(UnavailableError):
        platform(Wire(answer)).status("42")


@pytest.mark.parametrize("name", ["qr", "qrCode", "qrcode"])
@pytest.mark.parametrize("within", [lambda fields: fields, lambda fields: {"data": fields}])
def test_qr_under_all_its_names(name: str, within: Callable[[dict[str, str]], object]) -> None:
    assert platform(Wire(says(within({name: "2@abc"})))).qr("42") == "2@abc"
    assert platform(Wire(says(within({name: PNG})))).qr("42") == f"data:image/png;base64,{PNG}"


@pytest.mark.parametrize("answer", [says({"qr": None}), says({}), text("<html>"), says({"qr": 7})])
def test_no_qr_yet(answer: httpx.Response) -> None:
    assert platform(Wire(answer)).qr("42") is None


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
    ("fields", "task_id"),
    [
        ({"taskId": "task_7", "status": "queued"}, "task_7"),
        ({"id": "msg_1"}, "msg_1"),
        ({"taskId": 7}, "7"),
        ({"ids": [{"id": "true_7@c.us_3EB0"}]}, "true_7@c.us_3EB0"),
        ({"taskId": "task_7", "ids": [{"id": "other"}], "error": "a warning"}, "task_7"),
        ({"data": {"ids": [{"id": 7}]}}, "7"),
        ({"ids": []}, None),
        ({"ids": ["wrong"]}, None),
        ({"ids": {"id": "wrong"}}, None),
        ({"success": True, "taskId": "task_7", "status": "queued", "message": "Message queued"}, "task_7"),
        ({"success": True}, None),
        ({"success": True, "error": None}, None),
        ({"taskId": ["wrong"]}, None),
    ],
)
def test_a_send_and_its_task(fields: dict[str, Any], task_id: str | None) -> None:
    assert platform(Wire(says(fields))).send("42", EVENT).task_id == task_id


@pytest.mark.parametrize(
    "answer",
    [
        text("<html>Welcome</html>"),
        text(""),
        text("OK"),
        text('{"taskId": "t'),
        says([]),
        says("queued"),
        httpx.Response(204),
        httpx.Response(200, content=b"\xff\xfe\x00"),
        httpx.Response(200, content=b" " * 3_000_000),
    ],
)
def test_a_success_that_is_no_object_leaves_a_send_unknown(answer: httpx.Response) -> None:
    """It may come from something that stands in front of the platform; nobody can know."""
    with pytest.raises(UnknownEffectError) as caught:
        platform(Wire(answer)).send("42", EVENT)
    assert "private words" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"error": "Session closed"}, {"errors": [{"code": 1}]}, {"data": {"error": {"code": "E1"}}}]
)
def test_a_success_with_an_error_and_no_id_leaves_a_send_unknown(fields: dict[str, Any]) -> None:
    """The contract knows only `status: "error"`; whatever this is, it is neither sent nor proven unsent."""
    with pytest.raises(UnknownEffectError, match="names no message"):
        platform(Wire(says(fields))).send("42", EVENT)


def test_a_send_is_asked_once() -> None:
    """Whatever comes of it, nothing here tries a send again."""
    for failure in (httpx.ReadTimeout(""), httpx.ConnectError(""), says({}, 500), says({}, 429), says({}, 400)):
        wire = Wire(failure)
        with pytest.raises(PlatformError):
            platform(wire).send("42", EVENT)
        assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says({"success": True}), True),
        (text(""), True),
        (httpx.Response(204), True),
        (says({"error": "Message not found"}, 404), False),
        (says({"error": "bad id"}, 400), False),
        (says({"error": "message not found here"}, 410), False),
    ],
)
def test_delete(answer: httpx.Response, *, expected: bool) -> None:
    """Any 2xx has deleted it; one that the platform does not know is gone already."""
    assert platform(Wire(answer)).delete("42", "task_7") is expected


def test_delete_that_is_refused_or_not_answered() -> None:
    """A proxy that finds nothing behind it does not say that the message is gone."""
    proxy = text("404 page not found", 404)
    for answer, error in ((says({}, 403), RefusedError), (says({}, 500), UnavailableError), (proxy, UnavailableError)):
        with pytest.raises(error):
            platform(Wire(answer)).delete("42", "task_7")


def test_a_refused_reaction() -> None:
    with pytest.raises(RefusedError, match="not found"):
        platform(Wire(says({"status": "error", "message": "Message not found"}))).react("42", "7", "true_1", "👍")


def test_media_streams_with_its_names() -> None:
    headers = {
        "Content-Type": "audio/ogg; codecs=opus",
        "Content-Disposition": 'attachment; filename="../a/b voice.ogg"',
    }
    wire = Wire(httpx.Response(200, content=b"x" * 100_000, headers=headers))
    with platform(wire).download_media("42", "false_7@c.us_3EB0") as found:
        assert (found.content_type, found.filename, found.length) == ("audio/ogg; codecs=opus", "b voice.ogg", 100_000)
        assert sum(len(chunk) for chunk in found.chunks) == 100_000
    assert wire.lines == ["GET /api/messages/media/false_7%40c.us_3EB0"]


@pytest.mark.parametrize("disposition", ["", "attachment", 'attachment; filename=""', "inline; filename=/", "\x00"])
def test_media_without_a_name(disposition: str) -> None:
    wire = Wire(httpx.Response(200, content=b"x", headers={"Content-Disposition": disposition}))
    with platform(wire).download_media("42", "m") as found:
        assert found.filename is None
        assert found.content_type == "application/octet-stream"


@pytest.mark.parametrize("announced", [True, False])
def test_media_that_is_too_large_is_refused(*, announced: bool) -> None:
    """At once where its length was announced, else as soon as there is too much of it."""
    body = httpx.ByteStream(b"x" * 2000)
    headers = {"Content-Length": "2000"} if announced else {}
    wire = Wire(httpx.Response(200, stream=body, headers=headers))
    with (
        pytest.raises(RefusedError, match="larger than 1000 bytes"),
        platform(wire).download_media("42", "m", max_bytes=1000) as found,
    ):
        list(found.chunks)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (says({"error": "Media not found"}, 404), RefusedError),
        (text("<pre>Cannot GET /api/messages/media/m</pre>", 404), RefusedError),
        (text("404 page not found", 404), UnavailableError),
        (says({}, 401), UnauthorizedError),
        (says({}, 500), UnavailableError),
        (httpx.ReadTimeout(""), UnavailableError),
    ],
)
def test_media_that_is_not_to_be_had(answer: httpx.Response | Exception, error: type[PlatformError]) -> None:
    with pytest.raises(PlatformError) as caught, platform(Wire(answer)).download_media("42", "m"):
        pytest.fail("there is nothing to read")
    assert type(caught.value) is error


@pytest.mark.parametrize(("chosen", "expected"), [("direct", DirectTransport), ("httpx", PoolTransport)])
def test_the_setting_chooses_the_transport(
    monkeypatch: pytest.MonkeyPatch, chosen: str, expected: type[httpx.BaseTransport]
) -> None:
    """WPP_HTTP_TRANSPORT reaches the wire."""
    for name, value in {"BASE_URL": "http://platform.test", "SECRET": "s", "HTTP_TRANSPORT": chosen}.items():
        monkeypatch.setenv(f"WPP_{name}", value)
    with Platform(load(PlatformSettings), lambda _: httpx.Auth()) as found:
        assert type(found._exchange._transport) is expected  # noqa: SLF001 - it shows nowhere else


def test_nothing_shows_its_secrets() -> None:
    """A platform that is printed tells nothing."""
    with platform(Wire(says())) as found:
        assert "the-secret" not in repr(found) + repr(vars(found))

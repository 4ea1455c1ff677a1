"""Every call against every bad answer: its result, or the error that says what is known."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    PlatformError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnknownEffectError,
)
from shared.platform import Platform
from shared.platform.account import PlatformAccount
from shared.platform.http import MAX_RESPONSE_BYTES
from shared.platform.models import StartResult
from tests.shared.platform.recording_transport import (
    EVENT,
    KEY,
    RecordingTransport,
    open_account,
    open_platform,
)

CALLS: dict[str, Callable[[Platform, PlatformAccount], object]] = {
    "create": lambda platform, _: platform.create_client("org"),
    "token": lambda platform, _: platform.mint_token(KEY),
    "start": lambda _, account: account.start(),
    "status": lambda _, account: account.get_status(),
    "qr": lambda _, account: account.get_qr(),
    "webhook": lambda _, account: account.register_webhook("https://u"),
    "stop": lambda _, account: account.stop(),
    "send": lambda _, account: account.send(EVENT),
    "delete": lambda _, account: account.delete("task_7"),
    "react": lambda _, account: account.react("79990001122", "true_7", "👍"),
}


def call(name: str, transport: httpx.BaseTransport) -> object:
    return CALLS[name](open_platform(transport), open_account(transport))


def always(
    status: int, body: Callable[[], httpx.SyncByteStream], **headers: str
) -> httpx.BaseTransport:
    """Return a transport that gives each request the same answer, with a new body stream."""
    return httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, stream=body()))


class CutBody(httpx.SyncByteStream):
    """A body that ends early because its connection is lost."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"apiKey": "k", "token": "t", "status": "conn'
        raise httpx.ReadError("lost")  # noqa: EM101 - as httpx does


def stream(body: bytes) -> httpx.SyncByteStream:
    return httpx.ByteStream(body)


NO_JSON: dict[str, Callable[[], httpx.SyncByteStream]] = {
    "nothing": lambda: stream(b""),
    "HTML": lambda: stream(b"<!DOCTYPE html><html><body>Welcome</body></html>"),
    "truncated": lambda: stream(
        b'{"apiKey": "k", "token": "t", "qr": "2@a", "status": "connected", "taskId": "t'
    ),
    "a list": lambda: stream(b'[{"status": "connected"}]'),
    "a text": lambda: stream(b'"connected"'),
    "no UTF-8": lambda: stream(b'{"status": "\xff\xfe"}'),
    "nested without end": lambda: stream(b'{"a":' * 100_000),
}
UNREADABLE: dict[str, Callable[[], httpx.SyncByteStream]] = {
    "huge": lambda: stream(
        b'{"status": "connected", "more": "' + b"x" * MAX_RESPONSE_BYTES + b'"}'
    ),
    "cut": CutBody,
}
WRONG_TYPES = (
    b'{"apiKey": {}, "session": [], "token": 7, "status": {}, "qr": 7, "taskId": [7], "data": "x"}'
)
DONE = {
    "start": StartResult("starting", None),
    "qr": None,
    "webhook": None,
    "stop": None,
    "delete": True,
    "react": None,
}
"""Results of calls that need no fields of the answer, only its 2xx."""
ERRORS: dict[str, type[PlatformError]] = dict.fromkeys(CALLS, UnavailableError) | {
    "send": UnknownEffectError
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", NO_JSON)
def test_a_success_without_an_object(name: str, body: str) -> None:
    """A call that needs a field can be repeated; the effect of a send is unknown."""
    transport = always(200, NO_JSON[body])
    if name in DONE:
        assert call(name, transport) == DONE[name]
        return
    with pytest.raises(PlatformError) as caught:
        call(name, transport)
    assert type(caught.value) is ERRORS[name]


@pytest.mark.parametrize("name", CALLS)
def test_a_success_with_fields_of_the_wrong_types(name: str) -> None:
    """Fields of a wrong type count as missing; the 2xx alone shows that a send was accepted."""
    transport = RecordingTransport(httpx.Response(200, content=WRONG_TYPES))
    if name == "send":
        assert open_account(transport).send(EVENT).task_id is None
    elif name in DONE:
        assert call(name, transport) == DONE[name]
    else:
        with pytest.raises(UnavailableError):
            call(name, transport)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", UNREADABLE)
def test_a_success_that_cannot_be_read(name: str, body: str) -> None:
    """A body that is cut or too large leaves the effect of a send unknown."""
    with pytest.raises(PlatformError) as caught:
        call(name, always(200, UNREADABLE[body]))
    assert type(caught.value) is ERRORS[name]


STATUSES: list[tuple[int, dict[str, str], type[PlatformError] | None]] = [
    (302, {"Location": "https://elsewhere.test"}, UnavailableError),
    (400, {}, RefusedError),
    (401, {}, UnauthorizedError),
    (403, {}, RefusedError),
    (404, {}, UnavailableError),
    (405, {}, UnavailableError),
    (429, {"Retry-After": "9"}, LimitedError),
    (500, {}, None),
    (502, {}, None),
    (503, {"Retry-After": "9"}, UnavailableError),
    (503, {}, None),
]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("status", "headers", "error"), STATUSES)
def test_a_failure_with_a_bad_body(
    name: str, status: int, headers: dict[str, str], error: type[PlatformError] | None
) -> None:
    """The status alone decides; a 404 without the platform's JSON does not mean "gone"."""
    expected = InvalidApiKeyError if (name, status) == ("token", 401) else error or ERRORS[name]
    for body in (*NO_JSON.values(), *UNREADABLE.values()):
        transport = always(status, body, **headers)
        if (name, status) == ("delete", 400):
            assert call(name, transport) is False
            continue
        with pytest.raises(PlatformError) as caught:
            call(name, transport)
        assert type(caught.value) is expected

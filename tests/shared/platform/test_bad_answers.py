"""Every call against every bad answer: what is done of it, or which error says what is known."""

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
from shared.platform.http import MAX_RESPONSE_BYTES
from shared.platform.models import StartResult
from tests.shared.platform.wire import EVENT, KEY, Wire, platform

CALLS: dict[str, Callable[[Platform], object]] = {
    "create": lambda p: p.create_client("org"),
    "token": lambda p: p.mint_token(KEY),
    "start": lambda p: p.start("42"),
    "status": lambda p: p.status("42"),
    "qr": lambda p: p.qr("42"),
    "webhook": lambda p: p.register_webhook("42", "https://u"),
    "stop": lambda p: p.stop("42"),
    "send": lambda p: p.send("42", EVENT),
    "delete": lambda p: p.delete("42", "task_7"),
    "react": lambda p: p.react("42", "79990001122", "true_7", "👍"),
}


class Always(Wire):
    """Gives the same answer to each request."""

    def __init__(
        self, status: int, body: Callable[[], httpx.SyncByteStream], **headers: str
    ) -> None:
        super().__init__()
        self.status, self.made, self.headers = status, body, headers

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, stream=self.made())


class Cut(httpx.SyncByteStream):
    """A body whose connection is lost in the middle."""

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
    "cut": Cut,
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
"""What needs no answer but the 2xx: it has been asked for, and a look will tell."""
ERRORS: dict[str, type[PlatformError]] = dict.fromkeys(CALLS, UnavailableError) | {
    "send": UnknownEffectError
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", NO_JSON)
def test_a_success_without_an_object(name: str, body: str) -> None:
    """What needs a field is asked for again; a send may have been taken, or never have arrived."""
    asked = platform(Always(200, NO_JSON[body]))
    if name in DONE:
        assert CALLS[name](asked) == DONE[name]
        return
    with pytest.raises(PlatformError) as caught:
        CALLS[name](asked)
    assert type(caught.value) is ERRORS[name]


@pytest.mark.parametrize("name", CALLS)
def test_a_success_with_fields_of_the_wrong_types(name: str) -> None:
    """They are as good as missing; that a send was taken is told by its status."""
    asked = platform(Wire(httpx.Response(200, content=WRONG_TYPES)))
    if name == "send":
        assert asked.send("42", EVENT).task_id is None
    elif name in DONE:
        assert CALLS[name](asked) == DONE[name]
    else:
        with pytest.raises(UnavailableError):
            CALLS[name](asked)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("body", UNREADABLE)
def test_a_success_that_cannot_be_read(name: str, body: str) -> None:
    """Whatever it was: nobody has seen the end of it."""
    with pytest.raises(PlatformError) as caught:
        CALLS[name](platform(Always(200, UNREADABLE[body])))
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
    """Its status says what is known; without the platform's own word no thing is gone."""
    expected = InvalidApiKeyError if (name, status) == ("token", 401) else error or ERRORS[name]
    for body in (*NO_JSON.values(), *UNREADABLE.values()):
        asked = platform(Always(status, body, **headers))
        if (name, status) == ("delete", 400):
            assert asked.delete("42", "task_7") is False
            continue
        with pytest.raises(PlatformError) as caught:
            CALLS[name](asked)
        assert type(caught.value) is expected

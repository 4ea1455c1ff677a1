"""HTTP calls to the platform: errors say what is known of the effect, and show no secret."""

import json
import logging
import threading
import traceback
from collections.abc import Callable, Generator, Iterator

import httpx
import pytest
from pydantic import SecretStr

from shared.errors import (
    LimitedError,
    PlatformError,
    RefusedError,
    RouteMissingError,
    UnauthorizedError,
    UnavailableError,
    UnknownEffectError,
)
from shared.http.deadline import within
from shared.platform import BearerAuth, endpoints
from shared.platform.http import MAX_RESPONSE_BYTES, PlatformHttp

URL = "http://platform.test/base/"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"
TEXT = "Your code is 4711, keep it secret"
BODY = {"type": "text", "to": "79990001122", "text": TEXT}
GZIP = {"Content-Encoding": "gzip"}
Handler = Callable[[httpx.Request], httpx.Response]


def open_http(handler: Handler) -> PlatformHttp:
    return PlatformHttp(URL, httpx.MockTransport(handler), deadline_s=2)


def error_of(handler: Handler, endpoint: endpoints.Endpoint = endpoints.TEXT) -> PlatformError:
    http = open_http(handler)
    with pytest.raises(PlatformError) as caught:
        http.request(endpoint, BearerAuth(SecretStr(TOKEN)), BODY, params={"account": "42"})
    http.close()
    return caught.value


def raising(error: Exception) -> Handler:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise error

    return handler


def answering(
    status: int, headers: dict[str, str] | None = None, body: bytes = b'{"error": "why"}'
) -> Handler:
    return lambda _request: httpx.Response(status, headers=headers, content=body)


class CutBody(httpx.SyncByteStream):
    """A successful body that is cut by a lost connection."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"taskId": "t'
        raise httpx.ReadError("lost")  # noqa: EM101 - as httpx does


class CutReason(httpx.SyncByteStream):
    """A failure's body that is cut by a lost connection."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"error": "why'
        raise httpx.ReadError("lost")  # noqa: EM101 - as httpx does


def unreadable(status: int, headers: dict[str, str] | None = None) -> list[Handler]:
    """Return answers of this status with a cut, a wrongly encoded, and an oversized body."""
    headers = headers or {}
    return [
        lambda _: httpx.Response(status, headers=headers, stream=CutReason()),
        lambda _: httpx.Response(
            status, headers=headers | GZIP, stream=httpx.ByteStream(b"no gzip")
        ),
        answering(status, headers, b" " * (MAX_RESPONSE_BYTES + 1)),
    ]


# what happened, the error for an idempotent call, the error for a send
KNOWN: list[tuple[str, Handler, type[PlatformError], type[PlatformError]]] = [
    ("connect refused", raising(httpx.ConnectError("")), UnavailableError, UnavailableError),
    ("connect timeout", raising(httpx.ConnectTimeout("")), UnavailableError, UnavailableError),
    ("no free connection", raising(httpx.PoolTimeout("")), UnavailableError, UnavailableError),
    ("a bad header", raising(httpx.LocalProtocolError("")), UnavailableError, UnavailableError),
    ("read timeout", raising(httpx.ReadTimeout("")), UnavailableError, UnknownEffectError),
    ("write timeout", raising(httpx.WriteTimeout("")), UnavailableError, UnknownEffectError),
    ("write error", raising(httpx.WriteError("")), UnavailableError, UnknownEffectError),
    ("read error", raising(httpx.ReadError("")), UnavailableError, UnknownEffectError),
    ("hung up", raising(httpx.RemoteProtocolError("")), UnavailableError, UnknownEffectError),
    (
        "cut body",
        lambda _: httpx.Response(200, stream=CutBody()),
        UnavailableError,
        UnknownEffectError,
    ),
    (
        "huge body",
        answering(200, body=b" " * (MAX_RESPONSE_BYTES + 1)),
        UnavailableError,
        UnknownEffectError,
    ),
    (
        "wrong encoding",
        answering(200, {"Content-Encoding": "gzip"}, b"no gzip"),
        UnavailableError,
        UnknownEffectError,
    ),
    ("500", answering(500), UnavailableError, UnknownEffectError),
    ("502", answering(502), UnavailableError, UnknownEffectError),
    ("504", answering(504), UnavailableError, UnknownEffectError),
    ("520", answering(520), UnavailableError, UnknownEffectError),
    ("503 without Retry-After", answering(503), UnavailableError, UnknownEffectError),
    (
        "503 with Retry-After",
        answering(503, {"Retry-After": "9"}),
        UnavailableError,
        UnavailableError,
    ),
    ("408", answering(408), UnavailableError, UnknownEffectError),
    ("425", answering(425), UnavailableError, UnavailableError),
    ("429", answering(429, {"Retry-After": "9"}), LimitedError, LimitedError),
    ("401", answering(401), UnauthorizedError, UnauthorizedError),
    ("400", answering(400), RefusedError, RefusedError),
    ("403", answering(403), RefusedError, RefusedError),
    ("404 of a resource", answering(404), RefusedError, RefusedError),
    ("413", answering(413), RefusedError, RefusedError),
    ("no route", answering(404, body=b"404 page not found"), UnavailableError, UnavailableError),
    (
        "no route in JSON",
        answering(404, body=b'{"message": "no Route matched"}'),
        UnavailableError,
        UnavailableError,
    ),
    (
        "404 cut",
        lambda _: httpx.Response(404, stream=CutReason()),
        UnavailableError,
        UnavailableError,
    ),
    ("405", answering(405), UnavailableError, UnavailableError),
    (
        "redirect",
        answering(302, {"Location": "https://elsewhere.test"}),
        UnavailableError,
        UnavailableError,
    ),
    ("not modified", answering(304), RefusedError, RefusedError),
]


@pytest.mark.parametrize(
    ("handler", "idempotent", "send"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN]
)
def test_the_error_says_what_is_known(
    handler: Handler, idempotent: type[PlatformError], send: type[PlatformError]
) -> None:
    """The errors follow the table in `shared.platform.failures`."""
    assert type(error_of(handler, endpoints.START)) is idempotent
    assert type(error_of(handler)) is send


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (400, {}, RefusedError),
        (401, {}, UnauthorizedError),
        (425, {}, UnavailableError),
        (429, {"Retry-After": "9"}, LimitedError),
        (503, {"Retry-After": "9"}, UnavailableError),
        (503, {}, UnknownEffectError),
        (500, {}, UnknownEffectError),
    ],
)
def test_the_status_decides_if_the_body_is_unreadable(
    status: int, headers: dict[str, str], expected: type[PlatformError]
) -> None:
    """An unreadable reason changes neither a proof that nothing was done nor an unknown effect."""
    for handler in unreadable(status, headers):
        assert type(error_of(handler)) is expected


class RetryOnce(httpx.Auth):
    """Repeats the request once after a 401, as TokenAuth does."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        response = yield request
        if response.status_code == 401:
            yield request


class UnreadBody(httpx.SyncByteStream):
    """A body that fails the test when it is read."""

    closed = False

    def __iter__(self) -> Iterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    def close(self) -> None:
        self.closed = True


def test_the_answer_to_a_refused_token_is_closed_unread() -> None:
    """Its status is enough; the call is repeated with the next token."""
    refused = UnreadBody()
    body = b'{"taskId": "t"}'
    answers = iter([httpx.Response(401, stream=refused), httpx.Response(200, content=body)])
    found = open_http(lambda _: next(answers)).request(endpoints.TEXT, RetryOnce(), BODY)
    assert found.identifier("taskId") == "t"
    assert refused.closed


@pytest.mark.parametrize("status", [429, 503])
def test_errors_carry_retry_after(status: int) -> None:
    error = error_of(answering(status, {"Retry-After": "9"}))
    assert isinstance(error, LimitedError | UnavailableError)
    assert error.retry_after_s == 9
    assert error.status == status


def test_a_rate_limit_without_retry_after_gets_the_default() -> None:
    error = error_of(answering(429))
    assert isinstance(error, LimitedError)
    assert error.retry_after_s == 5


@pytest.mark.parametrize(
    "body", [{"status": "error", "message": "not on WhatsApp"}, {"success": False, "error": "no"}]
)
def test_a_success_that_reports_an_error_is_refused(body: dict[str, object]) -> None:
    """Only for endpoints with a status in the body; an account's status is a plain field."""
    handler = answering(200, body=json.dumps(body).encode())
    error = error_of(handler)
    assert type(error) is RefusedError
    assert str(body.get("message") or body["error"]) in str(error)
    with_status = open_http(handler).request(
        endpoints.STATUS, httpx.Auth(), params={"account": "42"}
    )
    assert with_status.ok


def test_the_next_variant_is_tried_when_a_route_is_missing() -> None:
    """In order, within a call; the variant that works comes first from then on."""
    known = "/base/api/webhooks/42"
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        found = request.url.path == known
        return (
            httpx.Response(200, json={})
            if found
            else httpx.Response(404, text=f"Cannot POST {request.url.path}")
        )

    http = open_http(handler)
    for _ in range(2):
        http.request(endpoints.WEBHOOK, httpx.Auth(), {"url": "u"}, params={"account": "42"})
    known = "/base/internal/session/42/webhook"
    for _ in range(2):
        http.request(endpoints.WEBHOOK, httpx.Auth(), {"url": "u"}, params={"account": "42"})
    older = "/base/api/webhooks/42"
    newer = "/base/internal/session/42/webhook"
    assert seen == [newer, older, older, older, newer, newer]


def without_routes(request: httpx.Request) -> httpx.Response:
    return httpx.Response(404, text=f"Cannot POST {request.url.path}")


def test_a_platform_without_any_variant() -> None:
    """A wrong server, or a running deployment: nothing was processed; the error names a setting."""
    error = error_of(without_routes)
    assert type(error) is UnavailableError
    assert "WPP_BASE_URL" in str(error)


def test_an_unverified_endpoint_is_refused_when_its_route_is_missing() -> None:
    """Only the platform's own answer refuses it; after a proxy's 404 the call may be repeated."""
    assert type(error_of(without_routes, endpoints.LOCATION)) is RouteMissingError
    proxy = answering(404, body=b"404 page not found")
    assert type(error_of(proxy, endpoints.LOCATION)) is UnavailableError


def test_a_refusal_by_404_is_final() -> None:
    """A missing resource is no reason to try the next variant, which might send twice."""
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(404, json={"error": "Session not found"})

    assert type(error_of(handler)) is RefusedError
    assert len(seen) == 1


def echoing(request: httpx.Request) -> httpx.Response:
    """Return an error that quotes the request, as debug pages do."""
    quote = f"{request.headers['authorization']} {request.read().decode()}"
    return httpx.Response(400, json={"error": quote})


@pytest.mark.parametrize(
    "handler",
    [
        echoing,
        raising(httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}'")),
        raising(httpx.ReadTimeout(TEXT)),
        lambda request: httpx.Response(500, text=request.headers["authorization"]),
        lambda _request: httpx.Response(400, json={"error": f"cannot send {TEXT[:20]}"}),
    ],
)
def test_errors_and_logs_show_no_secret(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    """Errors of the platform and of httpx show no token, text or recipient."""
    caplog.set_level(logging.DEBUG)
    error = error_of(handler)
    shown = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    for secret in (TOKEN, TEXT, TEXT[:20], "79990001122"):
        assert secret not in shown
    assert error.__cause__ is None


def test_compression_is_not_requested() -> None:
    """Answers are small, and a small compressed body could expand without limit."""
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["accept-encoding"])
        return httpx.Response(200, json={})

    open_http(handler).request(endpoints.CREATE, httpx.Auth(), {})
    assert seen == ["identity"]


def test_each_request_gets_the_rest_of_the_deadline() -> None:
    """Transports read it from the timeout extension."""
    seen: list[dict[str, float]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json={})

    with within(0.5):
        open_http(handler).request(endpoints.CREATE, httpx.Auth(), {})
    assert 0 < seen[0]["read"] <= 0.5
    assert 0 < seen[0]["connect"] <= 0.5


def test_threads_share_one_client() -> None:
    """64 threads at once get their own answers."""
    http = open_http(lambda request: httpx.Response(200, json=json.loads(request.read())))
    found: set[str] = set()

    def run(number: int) -> None:
        answer = http.request(endpoints.TEXT, httpx.Auth(), {"taskId": str(number)})
        found.add(answer.identifier("taskId") or "")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {str(number) for number in range(64)}

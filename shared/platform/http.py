"""One question to the platform and its answer, within a deadline; failures told as `verdicts` says.

No error shows a key, a token or a message's text, and none is chained to httpx's, whose request holds them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any

import httpx

from shared.errors import PlatformError
from shared.http.deadline import remaining, within
from shared.platform import endpoints, failures
from shared.platform.endpoints import Endpoint, KnownVariants
from shared.platform.responses import PlatformResponse

CONNECT_S = 5.0
MAX_RESPONSE_BYTES = 2 * 1024 * 1024
HEADERS = (
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"keep-alive"),
    (b"User-Agent", b"wpp-pipeline"),
)


class PlatformHttp:
    """Asks one platform, over one pool of connections. Any number of threads may use it."""

    def __init__(self, base_url: str, transport: httpx.BaseTransport, deadline_s: float) -> None:
        self._base_url = base_url.rstrip("/")
        self._deadline_s = deadline_s
        self._routes = KnownVariants()
        self._transport = transport

    def close(self) -> None:
        self._transport.close()

    def ask(
        self,
        endpoint: Endpoint,
        auth: httpx.Auth,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> PlatformResponse:
        """Ask, and return an answer that is a success.

        Raises:
            PlatformError: as the table says.
        """
        with within(deadline_s or self._deadline_s):
            for form in self._routes.forms(endpoint):
                with self._open(endpoint, form, auth, body, params or {}) as response:
                    answer = _read(endpoint, response)
                    ours = _secrets(response.request, body)
                if not answer.route_unknown:
                    self._routes.remember(endpoint, form)
                    return failures.check_success(endpoint, answer, ours)
        raise failures.build_no_route_error(endpoint, answer)

    @contextmanager
    def stream(
        self, endpoint: Endpoint, auth: httpx.Auth, *, deadline_s: float, params: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        """Open an answer that is a success and leave its body to be read, within the deadline."""
        with (
            within(deadline_s),
            self._open(endpoint, endpoint.forms[0], auth, None, params) as response,
        ):
            if not response.is_success:
                answer = _read(endpoint, response)
                if answer.route_unknown:
                    raise failures.build_no_route_error(endpoint, answer)
                failures.check_success(endpoint, answer, _secrets(response.request, None))
            yield response

    @contextmanager
    def _open(
        self,
        endpoint: Endpoint,
        form: str,
        auth: httpx.Auth,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str],
    ) -> Iterator[httpx.Response]:
        method, path = endpoints.resolve_variant(form, params)
        left_s = max(0.001, remaining())
        timeout = httpx.Timeout(left_s, connect=min(CONNECT_S, left_s), pool=min(CONNECT_S, left_s))
        try:
            with closing(
                self._answer(_request(method, self._base_url + path, body, timeout), auth)
            ) as response:
                yield response
        except httpx.HTTPError as error:  # its text may quote a header, its request holds the token
            raise failures.build_no_answer_error(endpoint, type(error)) from None

    def _answer(self, request: httpx.Request, auth: httpx.Auth) -> httpx.Response:
        """Ask the transport itself: cookies and redirects, which httpx.Client adds, cost as much again."""
        with closing(auth.sync_auth_flow(request)) as flow:
            request = next(flow)
            while True:
                response = self._transport.handle_request(request)
                response.request = request
                try:
                    request = flow.send(response)
                except StopIteration:
                    return response
                except BaseException:
                    response.close()
                    raise
                response.close()  # unread: what a refused token brought may be of any length, or never end


def _request(
    method: str, url: str, body: Mapping[str, Any] | None, timeout: httpx.Timeout
) -> httpx.Request:
    parsed = _parsed(url)
    headers = [(b"Host", parsed.netloc), *HEADERS]
    content = b""
    if body is not None:
        content = json.dumps(
            body, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
        headers.append((b"Content-Type", b"application/json"))
    if body is not None or method == "POST":
        headers.append((b"Content-Length", str(len(content)).encode()))
    extensions = {"timeout": timeout.as_dict()}
    return httpx.Request(
        method, parsed, headers=headers, stream=httpx.ByteStream(content), extensions=extensions
    )


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _read(endpoint: Endpoint, response: httpx.Response) -> PlatformResponse:
    """Read a body of bounded size; of a failure, as much of it as can be read."""
    body = bytearray()
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise failures.build_unreadable_error(
                    endpoint, response.status_code, "it is far too long"
                )
    except (httpx.HTTPError, PlatformError):
        if response.is_success:
            raise
    return PlatformResponse(
        response.status_code, response.headers, bytes(body[:MAX_RESPONSE_BYTES])
    )


def _secrets(request: httpx.Request, body: Mapping[str, Any] | None) -> list[str]:
    """Return what an error must not repeat: the token or secret that went out, and the texts of the body."""
    texts = [value for value in (body or {}).values() if isinstance(value, str)]
    return [request.headers.get("authorization", "").removeprefix("Bearer "), *texts]

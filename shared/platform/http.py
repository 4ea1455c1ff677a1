"""HTTP calls to the platform within a deadline; failures become the errors of `failures`.

No error shows a key, a token or a message's text, and none is chained to an error of httpx,
because its request holds them.
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

CONNECT_TIMEOUT_S = 5.0
MAX_RESPONSE_BYTES = 2 * 1024 * 1024
HEADERS = (
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"keep-alive"),
    (b"User-Agent", b"wpp-pipeline"),
)


class PlatformHttp:
    """Calls the endpoints of a platform over a transport; safe to use from many threads."""

    def __init__(self, base_url: str, transport: httpx.BaseTransport, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._base_url = base_url.rstrip("/")
        self._variants = KnownVariants()
        self._transport = transport

    def close(self) -> None:
        self._transport.close()

    def request(
        self,
        endpoint: Endpoint,
        auth: httpx.Auth,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> PlatformResponse:
        """Call an endpoint and return its successful response.

        Raises:
            PlatformError: the call failed; `failures` has the table.
        """
        with within(deadline_s or self.deadline_s):
            for variant in self._variants.candidates(endpoint):
                with self._open(endpoint, variant, auth, body, params or {}) as answer:
                    response = _read(endpoint, answer)
                    secrets = _list_secrets(answer.request, body)
                if not response.is_route_missing:
                    self._variants.remember(endpoint, variant)
                    return failures.check_success(endpoint, response, secrets)
        raise failures.build_no_route_error(endpoint, response)

    @contextmanager
    def stream(
        self, endpoint: Endpoint, auth: httpx.Auth, *, deadline_s: float, params: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        """Open a successful response; the caller reads its body, within the deadline."""
        with (
            within(deadline_s),
            self._open(endpoint, endpoint.variants[0], auth, None, params) as answer,
        ):
            if not answer.is_success:
                response = _read(endpoint, answer)
                if response.is_route_missing:
                    raise failures.build_no_route_error(endpoint, response)
                failures.check_success(endpoint, response, _list_secrets(answer.request, None))
            yield answer

    @contextmanager
    def _open(
        self,
        endpoint: Endpoint,
        variant: str,
        auth: httpx.Auth,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str],
    ) -> Iterator[httpx.Response]:
        method, path = endpoints.resolve_variant(variant, params)
        left_s = max(0.001, remaining())
        connect_s = min(CONNECT_TIMEOUT_S, left_s)
        timeout = httpx.Timeout(left_s, connect=connect_s, pool=connect_s)
        extensions = {
            "timeout": timeout.as_dict(),
            "account": params.get("account"),
            "idempotent": endpoint.idempotent,
        }
        request = _build_request(method, self._base_url + path, body, extensions)
        try:
            with closing(self._send(request, auth)) as response:
                yield response
        except httpx.HTTPError as error:  # its text may quote a header, its request has the token
            raise failures.build_no_answer_error(endpoint, type(error)) from None

    def _send(self, request: httpx.Request, auth: httpx.Auth) -> httpx.Response:
        """Call the transport itself; httpx.Client would double the CPU cost of a request."""
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
                response.close()  # unread: the body of a 401 may be of any length, or endless


def _build_request(
    method: str, url: str, body: Mapping[str, Any] | None, extensions: dict[str, Any]
) -> httpx.Request:
    parsed = _parse_url(url)
    headers = [(b"Host", parsed.netloc), *HEADERS]
    content = b""
    if body is not None:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        content = text.encode()
        headers.append((b"Content-Type", b"application/json"))
    if body is not None or method == "POST":
        headers.append((b"Content-Length", str(len(content)).encode()))
    return httpx.Request(
        method, parsed, headers=headers, stream=httpx.ByteStream(content), extensions=extensions
    )


@lru_cache(maxsize=256)
def _parse_url(url: str) -> httpx.URL:
    return httpx.URL(url)


def _read(endpoint: Endpoint, answer: httpx.Response) -> PlatformResponse:
    """Read a body of bounded size; of a failure, the part that can be read."""
    body = bytearray()
    try:
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                reason = f"larger than {MAX_RESPONSE_BYTES} bytes"
                raise failures.build_unreadable_error(endpoint, answer.status_code, reason)
    except (httpx.HTTPError, PlatformError):
        if answer.is_success:
            raise
    return PlatformResponse(answer.status_code, answer.headers, bytes(body[:MAX_RESPONSE_BYTES]))


def _list_secrets(request: httpx.Request, body: Mapping[str, Any] | None) -> list[str]:
    """Return what an error must not quote: the token or secret sent, and the texts of the body."""
    texts = [value for value in (body or {}).values() if isinstance(value, str)]
    return [request.headers.get("authorization", "").removeprefix("Bearer "), *texts]

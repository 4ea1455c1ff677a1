"""Transports of httpx: keep-alive connections within the deadline of a call.

`bench/transport.py` compares them. `PooledTransport` is httpx's own pool. It scans every connection
under a lock for each request, so a request costs three times as much CPU with 64 threads as with 1.
`DirectTransport` keeps idle connections on a stack instead, and speaks HTTP/1.1 by h11 alone
(`connection.py`).

Rejected: pyreqwest 0.15, a Rust client behind httpx's API. It needs the least CPU, but reports a
connection that was cut after the platform had read the request as a ConnectError. A retry on that
error sends a message twice.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import Literal

import httpcore
import httpx

from shared.http.connection import HttpConnection, Origin
from shared.http.deadline import remaining
from shared.http.network import DeadlineBackend

KEEPALIVE_S = 3.0
"""Idle connections are closed before the platform closes them (Node's default is 5 s).

A message sent while the platform closes its connection has an unknown effect.
"""
MAX_CONNECTIONS = 256
TransportKind = Literal["direct", "httpx"]
CONNECT_ERRORS = (httpcore.ConnectError, httpcore.ConnectTimeout)
TRANSPORT_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


def open_transport(kind: TransportKind) -> httpx.BaseTransport:
    return DirectTransport() if kind == "direct" else PooledTransport(MAX_CONNECTIONS, KEEPALIVE_S)


class PooledTransport(httpx.HTTPTransport):
    """httpx's pool of HTTP/1.1 connections; retries a failed connect once, and nothing else."""

    def __init__(self, connections: int, keepalive_s: float) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=keepalive_s,
            retries=1,
            network_backend=DeadlineBackend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _check_deadline()
        timeout = request.extensions.get("timeout", {})
        wait_s = min(remaining(), math.inf if timeout.get("pool") is None else timeout["pool"])
        if wait_s < math.inf:  # bounds the wait for a free connection, which uses no socket
            request.extensions = {**request.extensions, "timeout": {**timeout, "pool": wait_s}}
        return super().handle_request(request)


class DirectTransport(httpx.BaseTransport):
    """A connection per running request; idle connections wait on a stack.

    The most recently used connection serves next. There are never more connections than threads
    with a request at the same time. A failed connect is retried once, and nothing else is.
    """

    def __init__(self, keepalive_s: float = KEEPALIVE_S) -> None:
        self._keepalive_s = keepalive_s
        self._ssl_context = httpx.create_ssl_context()
        self._ssl_context.set_alpn_protocols(["http/1.1"])
        self._backend = DeadlineBackend()
        self._idle: deque[HttpConnection] = deque()  # both ends are thread-safe

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _check_deadline()
        timeouts = request.extensions.get("timeout", {})
        connection = self._take(request.url, timeouts.get("connect"))
        try:
            connection.send(request, timeouts.get("write"))
            head = connection.read_head(timeouts.get("read"))
        except BaseException as error:
            connection.close()
            raise _map_error(error) from error
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_ResponseBody(connection, self._idle, timeouts.get("read")),
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason},
        )

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self, url: httpx.URL, timeout_s: float | None) -> HttpConnection:
        origin = (url.scheme, url.raw_host, url.port)
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.origin == origin and connection.is_usable:
                return connection
            connection.close()
        try:
            stream = self._connect(origin, timeout_s)
        except CONNECT_ERRORS:
            try:
                stream = self._connect(origin, timeout_s)
            except CONNECT_ERRORS as error:
                raise _map_error(error) from error
        return HttpConnection(stream, origin, self._keepalive_s)

    def _connect(self, origin: Origin, timeout_s: float | None) -> httpcore.NetworkStream:
        scheme, raw_host, port = origin
        host, is_tls = raw_host.decode("ascii"), scheme == "https"
        stream = self._backend.connect_tcp(host, port or (443 if is_tls else 80), timeout_s)
        return stream.start_tls(self._ssl_context, host, timeout_s) if is_tls else stream


class _ResponseBody(httpx.SyncByteStream):
    """The body of a response; closing the body frees its connection."""

    def __init__(
        self, connection: HttpConnection, idle: deque[HttpConnection], timeout_s: float | None
    ) -> None:
        self._connection = connection
        self._idle = idle
        self._timeout_s = timeout_s
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._connection.read_body(self._timeout_s)
        except TRANSPORT_ERRORS as error:
            raise _map_error(error) from error

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._connection.finish():
            self._idle.append(self._connection)
        else:
            self._connection.close()
        _close_oldest_if_expired(self._idle)


def _close_oldest_if_expired(idle: deque[HttpConnection]) -> None:
    try:
        oldest = idle.popleft()
    except IndexError:
        return
    if oldest.has_expired:
        oldest.close()
    else:
        idle.appendleft(oldest)


def _check_deadline() -> None:
    """Raise PoolTimeout, an error of an unsent request, once the deadline has passed."""
    if remaining() <= 0:
        msg = "the deadline passed before the request was sent"
        raise httpx.PoolTimeout(msg)


def _map_error(error: BaseException) -> BaseException:
    """Return httpx's error of the same name for an error of httpcore, and the rest unchanged."""
    if isinstance(error, TRANSPORT_ERRORS):
        return getattr(httpx, type(error).__name__)(str(error))  # type: ignore[no-any-return]
    return error

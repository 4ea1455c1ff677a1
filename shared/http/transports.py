"""How requests travel: over kept-alive connections, within the deadline.

Two transports carry the same httpcore connections; `bench/transport.py` holds them beside each other. `PoolTransport`
is httpx's own pool: each request looks at every connection, under one lock, so 64 threads pay three times as much CPU
a request as one does. `DirectTransport` keeps idle connections on a stack instead. What was not taken: pyreqwest 0.15
(a Rust client behind httpx's API) needs the least CPU of all, and reports a connection that was cut after the platform
had read the request as a ConnectError; whoever believes that sends a message twice.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import httpcore
import httpx

from shared.http.network import DeadlineBackend
from shared.http.pool import PooledTransport, check_deadline

KEEPALIVE_S = 3.0
"""Idle connections are closed before the platform does it (Node's default is 5 s): of a message sent on one that the
other side is just closing, nobody knows what became."""
MAX_CONNECTIONS = 256
TransportKind = Literal["direct", "httpx"]
TRANSPORT_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


def open_transport(kind: TransportKind) -> httpx.BaseTransport:
    return DirectTransport() if kind == "direct" else PooledTransport(MAX_CONNECTIONS, KEEPALIVE_S)


class DirectTransport(httpx.BaseTransport):
    """One httpcore connection per request under way, the idle ones on a stack: the freshest serves next.

    There are never more connections than threads that ask at once. Connects are repeated, once, and nothing else.
    """

    def __init__(self) -> None:
        self._ssl_context, self._backend = httpx.create_ssl_context(), DeadlineBackend()
        self._idle: deque[httpcore.HTTPConnection] = (
            deque()
        )  # its ends are safe to use from many threads

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_deadline()
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        asked = httpcore.Request(
            request.method,
            url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = self._take(url.origin)
        try:
            answer = connection.handle_request(asked)
        except BaseException as error:
            connection.close()
            raise _as_httpx(error) from error
        body = _Body(answer.iter_stream(), answer.close, connection, self._idle)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=body, extensions=answer.extensions
        )

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self, origin: httpcore.Origin) -> httpcore.HTTPConnection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if (
                connection.can_handle_request(origin)
                and connection.is_available()
                and not connection.has_expired()
            ):
                return connection
            connection.close()
        return httpcore.HTTPConnection(
            origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=KEEPALIVE_S,
            retries=1,
            network_backend=self._backend,
        )


class _Body(httpx.SyncByteStream):
    """An answer's body; once it is closed its connection is free again."""

    def __init__(
        self,
        stream: Iterable[bytes],
        done: Callable[[], None],
        connection: httpcore.HTTPConnection,
        idle: deque[httpcore.HTTPConnection],
    ) -> None:
        self._stream, self._done, self._connection, self._idle = stream, done, connection, idle
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except TRANSPORT_ERRORS as error:
            raise _as_httpx(error) from error

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._done()
        if self._connection.is_available():
            self._idle.append(self._connection)
        else:
            self._connection.close()
        _close_oldest(self._idle)


def _close_oldest(idle: deque[httpcore.HTTPConnection]) -> None:
    """Look at the connection that has been idle for longest, and close it if its time is over."""
    try:
        oldest = idle.popleft()
    except IndexError:
        return
    if oldest.has_expired():
        oldest.close()
    else:
        idle.appendleft(oldest)


def _as_httpx(error: BaseException) -> BaseException:
    """Return httpx's error of the same name for one of httpcore's, and any other one as it is."""
    return (
        getattr(httpx, type(error).__name__)(str(error))
        if isinstance(error, TRANSPORT_ERRORS)
        else error
    )

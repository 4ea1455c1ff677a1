"""uvicorn's HTTP protocol, with deadlines and a bound on the number of connections.

A connection is waiting for its client while it has no request, a part of a head, or a part of a
body. Each such wait ends: a head has a deadline, a body has those of `workers.ingress.body`, an
idle connection has the keep-alive timeout, a body that nobody reads is discarded for a few
seconds. When there are too many connections, the longest wait ends first.

Input that costs the server more than its sender is refused while it is parsed: thousands of
headers, of pipelined requests, or of bytes around a body that are no part of it.
"""

import logging
import time
from asyncio import Event, TimerHandle, Transport
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from workers.ingress.body import WHOLE
from workers.ingress.errors import problem
from workers.ingress.joined_response import JoinedResponse

MAX_HEAD_BYTES = 65_536
"""Request line and headers. A Supabase session is a header of up to 8 KB."""
MAX_HEADERS = 100
MAX_PIPELINED = 32
"""Requests of a connection that wait for the answer to an earlier one."""
MAX_OVERHEAD = 8
"""Bytes of a chunked body for each byte of its content: a chunk of one byte takes six."""
LINGER_S = 5.0
"""How long the rest of a body is discarded after its request was answered.

Closing at once would reset the connection, and the client would lose the answer.
"""
WRITE_STALL_S = 30.0
"""How long a client may read nothing of a response."""
LOG_INTERVAL_S = 10.0

log = structlog.get_logger()


class SampledWarnings(logging.Filter):
    """Passes a warning at most every `LOG_INTERVAL_S`: strangers cause them as often as they like.

    uvicorn warns of each request that is no HTTP and of each upgrade to another protocol.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if record.levelno > logging.WARNING:
            return True
        if now_s - self._last_s.get(str(record.msg), -LOG_INTERVAL_S) < LOG_INTERVAL_S:
            return False
        self._last_s[str(record.msg)] = now_s
        return True


INPUT_LOGGER = logging.getLogger("uvicorn.error.input")
INPUT_LOGGER.setLevel(logging.WARNING)
INPUT_LOGGER.addFilter(SampledWarnings())


class HostileInputError(Exception):
    """Raised to the parser, which stops; `status` is the answer."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass
class ConnectionLimits:
    """The limits of a process, and its connections that wait for their clients, oldest first."""

    connections: int
    head_deadline_s: float
    waiting: "dict[IngressProtocol, None]" = field(default_factory=dict)
    logged_s: float = 0.0


def make_protocol(limits: ConnectionLimits) -> type["IngressProtocol"]:
    """Return a protocol class for uvicorn with these limits."""
    return type("LimitedIngressProtocol", (IngressProtocol,), {"limits": limits})


class IngressProtocol(HttpToolsProtocol):
    limits: ConnectionLimits

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = INPUT_LOGGER
        self._fault: HostileInputError | None = None
        self._body_parts: list[bytes] = []
        self._body_bytes = 0
        self._received_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._linger_timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False
        self._refused = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_timer()
        self._update()
        if len(self.connections) > self.limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused = True
        for timer in (self._head_timer, self._linger_timer, self._write_timer):
            if timer:
                timer.cancel()
        self.limits.waiting.pop(self, None)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_body:
            self._received_bytes += len(data)
        else:
            self._head_bytes += len(data)
        super().data_received(data)
        self._pass_body_on()
        if self._received_bytes > MAX_HEAD_BYTES + MAX_OVERHEAD * self._body_bytes:
            self.abort()
            return
        waits = self._in_head or (self._is_idle and self.timeout_keep_alive_task is None)
        if waits and self._head_timer is None:
            self._start_head_timer()
        if self._head_bytes > MAX_HEAD_BYTES and not self._in_body:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is too large.")
        self._update()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer
        if len(self.headers) >= MAX_HEADERS:
            self._fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head has too many fields.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(HTTPStatus.BAD_REQUEST, "Too many requests wait for an answer.")
        self._in_head = False
        self._in_body = True
        self._head_bytes = self._body_bytes = self._received_bytes = 0
        self._stop_head_timer()
        self._start_request()

    def on_body(self, body: bytes) -> None:
        """Collect the chunks of a body: uvicorn copies what came before for each of them."""
        self._body_bytes += len(body)
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        self._pass_body_on()
        super().on_message_complete()
        self.scope[WHOLE] = True  # type: ignore[literal-required] # our own key
        self._received_bytes = 0
        self._in_body = False
        if self._linger_timer:
            self._linger_timer.cancel()
            self._linger_timer = None
        if not self._is_responding and not self.pipeline:
            self._start_keep_alive()

    def _start_request(self) -> None:
        """Do what uvicorn does on a whole head, with a response of ours."""
        scope: Any = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        version = self.parser.get_http_version()
        scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        earlier: RequestResponseCycle | None = self.cycle
        self.cycle = JoinedResponse(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    # Callbacks of a request and of the transport

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and not self._is_responding:
            self._unset_keepalive_if_required()
            self._linger_timer = self.loop.call_later(LINGER_S, self._close)
        elif self._in_head:
            self._unset_keepalive_if_required()
        self._update()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    @property
    def _is_responding(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    @property
    def _is_idle(self) -> bool:
        return not (self._is_responding or self._in_body or self.pipeline)

    def _update(self) -> None:
        """Note whether the connection waits for its client from now on."""
        if self._refused or (self._is_responding and not self._in_body):
            self.limits.waiting.pop(self, None)
        else:
            self.limits.waiting.setdefault(self)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_deadline_s, self._end_head)

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _end_head(self) -> None:
        self._head_timer = None
        if self._is_responding:  # to the request before
            self._start_head_timer()
        elif self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The head did not arrive in time.")
        else:
            self._close()

    def _pass_body_on(self) -> None:
        if self._body_parts:
            body = b"".join(self._body_parts)
            self._body_parts.clear()
            if self.parser is not None:
                super().on_body(body)

    def _fail(self, status: HTTPStatus, detail: str) -> None:
        self._fault = HostileInputError(status, detail)
        raise self._fault

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or what a callback of the parser has refused."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle and cycle.response_started and not cycle.response_complete:
            self.abort()
            return
        fault = self._fault or HostileInputError(HTTPStatus.BAD_REQUEST, msg)
        self._refuse(fault.status, fault.detail)

    def _make_room(self) -> None:
        """Close the connection that has waited the longest, or this one if none waits."""
        now_s = time.monotonic()
        if now_s - self.limits.logged_s > LOG_INTERVAL_S:
            self.limits.logged_s = now_s
            log.warning("connections.limit_reached", limit=self.limits.connections)
        oldest = next(iter(self.limits.waiting), self)
        if oldest is self:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections; try again.")
        else:
            self.connections.discard(oldest)
            oldest.abort()

    def abort(self) -> None:
        """Close the connection without waiting for what was not sent yet."""
        self._refused = True
        self._update()
        self.transport.abort()

    def _close(self) -> None:
        self._refused = True
        self._update()
        self.transport.close()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer without a request, and close the connection."""
        if not self.transport.is_closing():
            response = problem(status, status.name.lower(), detail, Connection="close")
            head = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
            head += [b"%b: %b" % pair for pair in response.raw_headers]
            self.transport.write(b"\r\n".join([*head, b"", bytes(response.body)]))
        self._close()

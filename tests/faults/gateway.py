"""An HTTP proxy before Supabase that fails at a given rate, before or after a call is applied."""

import random
import socket
import struct
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

LOCALHOST = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 s: closing the socket sends a reset."""
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class FaultyGateway:
    """Forwards to `port` on this machine, inside a `with` block.

    The share `rate` of the calls to /rest/v1 fails. Half of them are answered 503 and not
    forwarded; the rest is forwarded, and the connection is reset before the answer. `failed`
    counts both.
    """

    def __init__(self, port: int) -> None:
        self.upstream_port = port
        self.rate = 0.0
        self.dice = random.Random()  # noqa: S311 - no secrets
        self.failed = {"refused": 0, "cut": 0}
        self._stalls: list[tuple[str, float]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://{LOCALHOST}:{self._server.server_address[1]}"

    def fault(self, path: str) -> str | None:
        """Return the fault of a call, or None."""
        if not path.startswith("/rest/v1"):
            return None
        with self._lock:
            drawn = self.dice.random()
            kind = None if drawn >= self.rate else "refused" if drawn < self.rate / 2 else "cut"
            if kind:
                self.failed[kind] += 1
            return kind

    def stall(self, part: str, seconds: float) -> None:
        """Delay the next call with `part` in its path and query."""
        with self._lock:
            self._stalls.append((part, seconds))

    def stalled_s(self, path: str) -> float:
        with self._lock:
            found = next((stall for stall in self._stalls if stall[0] in path), None)
            if found is None:
                return 0.0
            self._stalls.remove(found)
            return found[1]

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, gateway: FaultyGateway) -> None:
        super().__init__((LOCALHOST, 0), _Handler)
        self.gateway = gateway

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of a client that was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection(LOCALHOST, self.server.gateway.upstream_port, timeout=30)

    def finish(self) -> None:
        self._upstream.close()
        with suppress(OSError):
            super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client is gone
            self.close_connection = True

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.server.gateway.stalled_s(self.path))
        fault = self.server.gateway.fault(self.path)
        if fault == "refused":
            self._answer(
                503, [("Content-Type", "application/json")], b'{"message": "upstream is away"}'
            )
            return
        try:
            answer, content = self._ask(body)
        except (OSError, HTTPException):  # Supabase is away
            self._reset()
            return
        if fault == "cut":
            self._reset()
            return
        self._answer(answer.status, answer.getheaders(), content)

    do_GET = do_HEAD = do_POST = _forward  # noqa: N815 - names of the base class
    do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815

    def _ask(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        self._upstream.request(self.command, self.path, body or None, dict(self.headers.items()))
        answer = self._upstream.getresponse()
        return answer, answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self) -> None:
        self._upstream.close()
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name of the base class
        """Drop the access log."""

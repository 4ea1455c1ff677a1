"""An HTTP/1.1 connection: h11 on a network stream of httpcore.

httpcore's own connection costs more CPU than h11 itself: hooks of traces around each step, locks,
a write for the head of a request and another for its body.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

import h11
import httpcore
import httpx

Origin = tuple[str, bytes, int | None]
"""Scheme, host and port of a URL."""

MAX_HEAD_BYTES = 100 * 1024
"""Longest head of a response, as in httpcore."""
READ_BYTES = 64 * 1024


class HttpConnection:
    """Serves one request at a time: `send`, then the whole body of the response, then `finish`.

    Errors are those of httpcore; after any of them the caller closes the connection. A
    LocalProtocolError says that nothing was written.
    """

    def __init__(self, stream: httpcore.NetworkStream, origin: Origin, keepalive_s: float) -> None:
        self.origin = origin
        self._stream = stream
        self._keepalive_s = keepalive_s
        self._idle_until = 0.0
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    def send(self, request: httpx.Request, timeout_s: float | None) -> None:
        """Write a request in one piece."""
        data = self._dump(request)
        # The server may have answered before it closed the connection: `read_head` looks for it.
        with suppress(httpcore.WriteError):
            self._stream.write(data, timeout_s)

    def read_head(self, timeout_s: float | None) -> h11.Response:
        """Return the head of the response; informational ones before it are skipped."""
        while True:
            event = self._read_event(timeout_s)
            if isinstance(event, h11.Response):
                return event

    def read_body(self, timeout_s: float | None) -> Iterator[bytes]:
        """Yield the body of the response as it arrives."""
        while isinstance(event := self._read_event(timeout_s), h11.Data):
            yield bytes(event.data)

    def finish(self) -> bool:
        """Return whether the exchange is complete, so that the connection can serve another.

        Bytes after the response belong to no request: they would look like the next response.
        """
        protocol = self._protocol
        is_done = protocol.our_state is h11.DONE and protocol.their_state is h11.DONE
        if not is_done or protocol.trailing_data[0]:
            return False
        protocol.start_next_cycle()
        self._idle_until = time.monotonic() + self._keepalive_s
        return True

    @property
    def has_expired(self) -> bool:
        """Whether it was idle for too long."""
        return time.monotonic() > self._idle_until

    @property
    def is_usable(self) -> bool:
        """Whether it can serve now; an idle connection is readable when the server has closed."""
        return not self.has_expired and not self._stream.get_extra_info("is_readable")

    def close(self) -> None:
        self._stream.close()

    def _dump(self, request: httpx.Request) -> bytes:
        assert isinstance(request.stream, httpx.SyncByteStream)  # noqa: S101 - no other kind is built
        body = b"".join(request.stream)
        try:
            head = h11.Request(
                method=request.method, target=request.url.raw_path, headers=request.headers.raw
            )
            events = (
                (head, h11.Data(body), h11.EndOfMessage()) if body else (head, h11.EndOfMessage())
            )
            return b"".join(self._protocol.send(event) or b"" for event in events)
        except h11.LocalProtocolError as error:
            raise httpcore.LocalProtocolError(str(error)) from error

    def _read_event(self, timeout_s: float | None) -> object:
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                self._protocol.receive_data(self._stream.read(READ_BYTES, timeout_s))
        except h11.ProtocolError as error:
            raise httpcore.RemoteProtocolError(str(error)) from error
        return event

"""uvicorn's request and response, which writes a head and a body that is there at once together.

A write is a system call and wakes the client: two cost a tenth of an accepted message. The head of
a body that comes in parts, such as a stream of events, does not wait for the first part.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

END = b"\r\n"
HEADER_BYTES = bytes({*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)})
"""What may stand in a header: no control characters."""
FRAMING = frozenset({b"connection", b"transfer-encoding"})


class JoinedResponse(RequestResponseCycle):
    """Holds a head with a Content-Length until its body begins."""

    _head: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if self._find_length(message) is None or self.response_started:
                await super().send(message)
            else:
                self._head = message
            return
        head, self._head = self._head, None
        if head is not None:
            joined = self._join(head, message)
            if joined is not None:
                self._write_all(joined)
                return
            await super().send(head)
        await super().send(message)

    @staticmethod
    def _find_length(head: Any) -> bytes | None:
        return next((value for name, value in head["headers"] if name == b"content-length"), None)

    def _join(self, head: Any, body: Any) -> bytes | None:
        """Return a whole response, or None if it is none, or is for uvicorn to refuse."""
        content = body.get("body", b"")
        lines = [*self.default_headers, *head["headers"]]
        if (
            body.get("more_body")
            or not self.keep_alive
            or self.disconnected
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
            or self._find_length(head) != b"%d" % len(content)
            or any(name in FRAMING for name, _ in lines)
        ):
            return None
        text = b"".join([name + b": " + value + END for name, value in lines])
        if text.translate(None, HEADER_BYTES) != END * len(lines):
            return None
        return b"".join((STATUS_LINE[head["status"]], text, END, content))

    def _write_all(self, response: bytes) -> None:
        self.transport.write(response)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        self.on_response()

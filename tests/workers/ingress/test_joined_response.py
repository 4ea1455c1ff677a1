"""A response goes out as uvicorn writes it; a head and its body together where they can."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from workers.ingress.joined_response import JoinedResponse

DATE = (b"date", b"Mon, 30 Nov 2026 18:00:00 GMT")
JSON = (b"content-type", b"application/json")


def length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(content)).encode()


def head(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [*headers]}


def body(content: bytes = b"", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, **more}


class RecordedTransport:
    """Keeps the writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Answered:
    """An answer on its transport: its bytes, its end or its error."""

    def __init__(
        self,
        kind: Callable[..., RequestResponseCycle],
        messages: list[dict[str, Any]],
        *,
        method: str = "POST",
        keep_alive: bool = True,
    ) -> None:
        transport: Any = RecordedTransport()
        self.transport = transport
        self.ended: list[bool] = []
        self.cycle = kind(
            scope={"type": "http", "method": method},
            transport=transport,
            flow=FlowControl(transport),
            logger=logging.getLogger("test"),
            access_logger=logging.getLogger("test"),
            access_log=False,
            default_headers=[DATE],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=lambda: self.ended.append(True),
        )
        self.error = ""
        asyncio.run(self._send(messages))

    async def _send(self, messages: list[dict[str, Any]]) -> None:
        try:
            for message in messages:
                await self.cycle.send(message)  # type: ignore[arg-type] # as an app sends it
        except RuntimeError as error:
            self.error = str(error)

    @property
    def outcome(self) -> dict[str, Any]:
        return {
            "written": b"".join(self.transport.writes),
            "closed": self.transport.closed,
            "ended": self.ended,
            "complete": self.cycle.response_complete,
            "event": self.cycle.message_event.is_set(),
            "error": self.error,
        }


SENT = [
    [head(JSON, length(b"{}"), status=202), body(b"{}")],
    [head(JSON, length(b"")), body()],
    [head(length(b"")), {"type": "http.response.body"}],
    [head(JSON, length(b"{}"), (b"connection", b"close")), body(b"{}")],
    [head(JSON, (b"transfer-encoding", b"chunked")), body(b"{}")],
    [head(JSON), body(b"{}")],
    [head(JSON), body(b"a", more_body=True), body(b"b")],
    [head(JSON, length(b"ab")), body(b"a", more_body=True), body(b"b")],
    [head(JSON, length(b"{}")), body(b"{} and more")],
    [head(JSON, length(b"{} and more")), body(b"{}")],
    [head(status=204), body()],
    [head((b"location", "/ä".encode("latin-1")), length(b"{}")), body(b"{}")],
    [head((b"location", b"/a\tb"), length(b"{}")), body(b"{}")],
    [head((b"location", b"/\r\nset-cookie: a"), length(b"{}")), body(b"{}")],
    [head((b"location", b"/\n"), length(b"{}")), body(b"{}")],
    [head((b"location", b"/\x00"), length(b"{}")), body(b"{}")],
    [head((b"location", b"/\x7f"), length(b"{}")), body(b"{}")],
    [head(length(b"{}")), body(b"{}"), body(b"{}")],
    [head(JSON), head(JSON)],
    [body(b"{}")],
]


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("sent", SENT, ids=repr)
def test_the_same_is_written_as_by_uvicorn(
    sent: list[dict[str, Any]], method: str, *, keep_alive: bool
) -> None:
    """Control characters in a header, a wrong length and a second body are refused, too."""
    options: Any = {"method": method, "keep_alive": keep_alive}
    ours = Answered(JoinedResponse, sent, **options)
    assert ours.outcome == Answered(RequestResponseCycle, sent, **options).outcome


def test_a_whole_answer_is_one_write() -> None:
    """Two writes would be two system calls, and wake the client twice."""
    sent = [head(JSON, length(b"{}"), status=202), body(b"{}")]
    [written] = Answered(JoinedResponse, sent).transport.writes
    assert written.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert written.endswith(b"\r\n\r\n{}")


def test_the_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    """A stream has no length."""
    assert Answered(JoinedResponse, [head(JSON)]).transport.writes


def test_an_app_that_fails_after_its_head_is_answered_with_500() -> None:
    """A head that was held is dropped: the answer of the error goes out in its place."""
    answered = Answered(JoinedResponse, [head(JSON, length(b"{}"))])

    async def fail(*_: Any) -> None:
        await answered.cycle.send(head(JSON, length(b"{}")))  # type: ignore[arg-type] # as above
        msg = "the app failed"
        raise RuntimeError(msg)

    asyncio.run(answered.cycle.run_asgi(fail))
    assert answered.outcome["written"].startswith(b"HTTP/1.1 500 ")

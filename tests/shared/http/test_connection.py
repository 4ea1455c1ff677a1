"""HttpConnection on streams without a network; test_transports has real sockets."""

from typing import Any

import httpcore
import httpx
import pytest

from shared.http.connection import HttpConnection

ORIGIN = ("http", b"platform.test", None)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Stream(httpcore.NetworkStream):
    """Answers each read with the next of `parts`, then as a closed connection."""

    def __init__(self, *parts: bytes, write_error: Exception | None = None) -> None:
        self.parts = list(parts)
        self.written: list[bytes] = []
        self.write_error = write_error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self.parts.pop(0) if self.parts else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        if self.write_error:
            raise self.write_error
        self.written.append(buffer)

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        return False


def exchange(stream: Stream, **request: Any) -> tuple[HttpConnection, int, bytes]:
    """Send a request; return its connection, and status and body of the response."""
    connection = HttpConnection(stream, ORIGIN, 3)
    request = {"method": "POST", "url": "http://platform.test/send", "json": {}, **request}
    connection.send(httpx.Request(**request), 1)
    head = connection.read_head(1)
    return connection, head.status_code, b"".join(connection.read_body(1))


def test_a_request_is_written_in_one_piece() -> None:
    """Head and body share a packet."""
    stream = Stream(OK)
    connection, *response = exchange(stream)
    assert response == [200, b"{}"]
    [written] = stream.written
    assert written.startswith(b"POST /send HTTP/1.1\r\n")
    assert written.endswith(b"\r\n\r\n{}")
    assert connection.finish()
    assert connection.is_usable


def test_a_request_without_a_body() -> None:
    stream = Stream(OK)
    exchange(stream, method="GET", json=None)
    assert stream.written[0].endswith(b"\r\n\r\n")


def test_informational_responses_are_skipped() -> None:
    """The response that follows them counts."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    connection, *response = exchange(Stream(hints, hints + OK))
    assert response == [200, b"{}"]
    assert connection.finish()


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length"),
        OK.replace(b"1.1", b"1.0"),
        OK + b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_serve_another_request(answer: bytes) -> None:
    """The server closes it, or has sent what would look like the next response."""
    connection, *response = exchange(Stream(answer))
    assert response == [200, b"{}"]
    assert not connection.finish()


def test_an_unread_body_leaves_the_connection_unusable() -> None:
    connection = HttpConnection(Stream(OK), ORIGIN, 3)
    connection.send(httpx.Request("GET", "http://platform.test/"), 1)
    connection.read_head(1)
    assert not connection.finish()


def test_nothing_is_written_of_an_invalid_request() -> None:
    """LocalProtocolError, a failure of an unsent request: not even its head is written."""
    stream = Stream(OK)
    for headers in ({"X": "a\nb"}, {"Content-Length": "1"}):
        with pytest.raises(httpcore.LocalProtocolError):
            exchange(stream, headers=headers)
    assert stream.written == []


def test_an_answer_before_a_failed_write_counts() -> None:
    """The server refused the request before it had read it all."""
    stream = Stream(OK.replace(b"200 OK", b"413 Too Large"), write_error=httpcore.WriteError())
    assert exchange(stream)[1] == 413


def test_a_failed_write_without_an_answer_leaves_doubt() -> None:
    """A part of the request may have been read, so the error does not say "not sent"."""
    with pytest.raises(httpcore.RemoteProtocolError):
        exchange(Stream(write_error=httpcore.WriteError()))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"no HTTP\r\n\r\n", OK[:-1]])
def test_an_unreadable_response_raises_remote_protocol_error(answer: bytes) -> None:
    with pytest.raises(httpcore.RemoteProtocolError):
        exchange(Stream(answer))


def test_a_head_without_an_end_is_bounded() -> None:
    """A server cannot fill the memory with headers."""
    endless = (b"X-%d: y\r\n" % number * 1000 for number in range(1000))
    with pytest.raises(httpcore.RemoteProtocolError):
        exchange(Stream(b"HTTP/1.1 200 OK\r\n", *endless))

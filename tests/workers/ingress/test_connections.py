"""Connections: each wait for a client ends, and there is always room for another client."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from sandbox.ports import LOCALHOST, free_port
from sandbox.redis import RedisServer
from shared.settings import IngressSettings
from tests.fixtures.ingress_process import IngressProcess, read_response
from workers.ingress.body import WHOLE
from workers.ingress.connections import (
    LINGER_S,
    MAX_HEAD_BYTES,
    ConnectionLimits,
    make_protocol,
)

LIMIT = 20
DEADLINE_S = 1.0
KEEP_ALIVE_S = 4
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
UNAUTHORIZED_POST = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def strict(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    """Return an ingress with short deadlines and few connections."""
    settings = {
        "WPP_CONNECTION_LIMIT": str(LIMIT),
        "WPP_HEAD_DEADLINE_S": str(DEADLINE_S),
        "WPP_KEEP_ALIVE_S": str(KEEP_ALIVE_S),
    }
    with IngressProcess(redis_server.url, tmp_path_factory.mktemp("strict"), **settings) as ingress:
        yield ingress


def read_to_end(connection: socket.socket) -> bytes:
    """Return what the server sends before it closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def send_until_closed(connection: socket.socket, data: bytes, pause_s: float) -> None:
    """Send the same data again and again; fail if that works for 20 s."""
    until = time.monotonic() + 20
    with suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() < until:
            connection.sendall(data)
            time.sleep(pause_s)
        pytest.fail("the connection is still open")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 "),
        (b"GET", b"HTTP/1.1 408 "),
    ],
)
def test_a_head_has_a_deadline(strict: IngressProcess, sent: bytes, status: bytes) -> None:
    """A connection without a request, or with half of one, is closed."""
    began = time.monotonic()
    with strict.connect() as connection:
        connection.sendall(sent)
        assert read_to_end(connection).startswith(status)
    assert 0.8 * DEADLINE_S < time.monotonic() - began < 5 * DEADLINE_S


@pytest.mark.parametrize("before", [b"", GET])
@pytest.mark.parametrize("drop", [b"X", b"\r\n"])
def test_the_deadline_is_that_of_the_whole_head(
    strict: IngressProcess, before: bytes, drop: bytes
) -> None:
    """Bytes that keep coming do not extend it, also in the second request of a connection."""
    with strict.connect() as connection:
        if before:
            connection.sendall(before)
            assert read_response(connection).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        send_until_closed(connection, drop, 0.05)
        assert time.monotonic() - began < 5 * DEADLINE_S


def test_a_head_has_a_limit(ingress: IngressProcess) -> None:
    """Headers without end do not fill the memory, long before their deadline."""
    with ingress.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        header = b"X-Padding: " + b"x" * 1000 + b"\r\n"
        try:
            for _ in range(100 * MAX_HEAD_BYTES // len(header)):
                connection.sendall(header)
        except (BrokenPipeError, ConnectionResetError):
            return
        assert read_to_end(connection).startswith(b"HTTP/1.1 431 ")


def test_keep_alive_is_a_setting(strict: IngressProcess) -> None:
    """An idle connection is closed after that time, not before. The default suits proxies."""
    assert IngressSettings().wpp_keep_alive_s == 75
    with strict.connect() as connection:
        for _ in range(11):  # longer than that time in all; the pauses may last for seconds more
            connection.sendall(GET)
            assert read_response(connection).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.1 * KEEP_ALIVE_S)
        began = time.monotonic()  # before the server begins to count
        connection.sendall(GET)
        read_response(connection)
        assert read_to_end(connection) == b""
        assert 0.8 * KEEP_ALIVE_S < time.monotonic() - began < 3 * KEEP_ALIVE_S


def test_there_is_room_for_another_client(strict: IngressProcess) -> None:
    """Idle and slow connections beyond the limit are closed, the oldest first."""
    process = psutil.Process(strict.pid)
    with ExitStack() as stack:
        for number in range(3 * LIMIT):
            connection = stack.enter_context(strict.connect())
            connection.sendall(GET[: number % 20])
            if number % 10 == 9:
                with strict.connect() as client:
                    began = time.monotonic()
                    client.sendall(GET)
                    assert read_response(client).startswith(b"HTTP/1.1 200 ")
                    assert time.monotonic() - began < DEADLINE_S
        opened = [each for each in process.net_connections() if each.status == "ESTABLISHED"]
        assert len(opened) < LIMIT + 10, "the remaining connections lead to Redis"


def test_an_answered_request_does_not_break_the_connection(strict: IngressProcess) -> None:
    """The rest of its body is discarded, and the next request is answered; then it is idle."""
    with strict.connect() as connection:
        connection.sendall(UNAUTHORIZED_POST % 300_000)
        assert read_response(connection).startswith(b"HTTP/1.1 401 "), "before the body is sent"
        connection.sendall(b" " * 300_000 + GET)
        assert read_response(connection).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        read_to_end(connection)
        assert time.monotonic() - began < 3 * KEEP_ALIVE_S


def test_an_unread_body_is_discarded_for_seconds_only(strict: IngressProcess) -> None:
    """A body without end is neither stored nor received for long."""
    process = psutil.Process(strict.pid)
    before = process.memory_info().rss
    began = time.monotonic()
    with strict.connect() as connection:
        connection.sendall(UNAUTHORIZED_POST % 10**12)
        send_until_closed(connection, b" " * 100_000, 0.005)
    assert time.monotonic() - began < 3 * LINGER_S
    assert process.memory_info().rss - before < 30 << 20


# Input that costs the server more than its sender


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 20_000),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\nx: ", b"y" * 100_000),
        (b"Transfer-Encoding: chunked\r\n\r\n1;x=", b"y" * 100_000),
        (b"Content-Length: 2000000000\r\n\r\n", b"y" * 100_000),
    ],
    ids=["trailers", "a long trailer", "a chunk extension", "a body"],
)
def test_what_follows_a_head_takes_no_memory(
    strict: IngressProcess, head: bytes, body: bytes
) -> None:
    """Without credentials: it comes without end, and the connection is closed after seconds."""
    process = psutil.Process(strict.pid)
    before = peak = process.memory_info().rss
    with strict.connect() as connection, suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n" + head)
        for _ in range(1000):
            connection.sendall(body)
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)
    assert peak - before < 30 << 20


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF0\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"X : a\r\n\r\n",
    ],
    ids=["chunk", "huge chunk", "encoding", "both lengths", "two lengths", "name"],
)
def test_what_is_no_http_is_told(strict: IngressProcess, head: bytes) -> None:
    """With 400, and nothing after it is read as another request."""
    with strict.connect() as connection:
        request = b"POST /webhooks/wpp/1/2 HTTP/1.1\r\nHost: x\r\n" + head
        connection.sendall(request + GET)
        received = read_to_end(connection)
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1") == 1


def test_pipelined_requests_are_bounded(strict: IngressProcess) -> None:
    """A few are answered in order; thousands are refused before each takes memory."""
    with strict.connect() as connection:
        connection.sendall(GET * 8)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 8:
            received += connection.recv(65_536)
    process = psutil.Process(strict.pid)
    before = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(LIMIT // 2):
            connection = stack.enter_context(strict.connect())
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(GET * 20_000)
        assert strict.http.get("/health").status_code == 200
    assert process.memory_info().rss - before < 30 << 20


@pytest.mark.parametrize(
    ("request_line", "rest"),
    [
        (b"GET /v1/integrations", b"a:b\r\n" * 12_000 + b"\r\n"),
        (
            b"POST /v1/messages",
            b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n",
        ),
    ],
    ids=["headers", "chunks"],
)
def test_many_small_parts_cost_little(
    strict: IngressProcess, request_line: bytes, rest: bytes
) -> None:
    """30 requests of 60 to 240 KB without credentials take less than 0.6 s of CPU."""
    process = psutil.Process(strict.pid)
    before_s = sum(process.cpu_times()[:2])
    for _ in range(30):
        with strict.connect() as connection, suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request_line + b" HTTP/1.1\r\nConnection: close\r\n" + rest)
            read_to_end(connection)
    assert sum(process.cpu_times()[:2]) - before_s < 0.6


@pytest.mark.parametrize(
    "target",
    ["/%ff", "/v1/%ff", "/v1/messages/%00", "/webhooks/wpp/%ff/%00", "/%2e%2e/", "/v1//", "*"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "TRACE", "DELETE"])
def test_strange_targets_are_no_errors_of_the_server(
    strict: IngressProcess, method: str, target: str
) -> None:
    """Each is answered with a status of 2xx or 4xx, without waiting for the body."""
    with strict.connect() as connection:
        connection.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode()
        )
        status = int(connection.recv(65_536).split(b" ", 2)[1])
        assert 200 <= status < 500


async def post_parts(port: int, *parts: bytes) -> bytes:
    """Send the parts of a request, with a pause after each; return the head of the answer."""
    reader, writer = await asyncio.open_connection(LOCALHOST, port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.1)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()
    return answer


async def note_whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with whether the body was known to be whole before it was read, and after."""
    before = scope.get(WHOLE, False)
    while (await receive())["more_body"]:
        pass
    note = f"{before} {scope.get(WHOLE, False)}".encode()
    headers = [(b"content-length", b"0"), (b"whole", note)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body"})


def test_a_body_that_came_with_its_head_is_known_to_be_whole() -> None:
    """A part of a body is not, until the rest is there."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"

    async def serve() -> list[bytes]:
        port = free_port()
        protocol = make_protocol(ConnectionLimits(10, 10))
        config = uvicorn.Config(note_whole, port=port, http=protocol, log_config=None)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        cases = ((head + b"{}",), (head, b"{}"), (head + b"{", b"}"))
        try:
            return [await post_parts(port, *parts) for parts in cases]
        finally:
            await server.shutdown()

    found = [answer.partition(b"whole: ")[2].split(b"\r\n")[0] for answer in asyncio.run(serve())]
    assert found == [b"True True", b"False True", b"False True"]

"""Each transport on real sockets: deadlines, keep-alive, and no request that is sent twice."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.http.deadline import within
from shared.http.transports import (
    DirectTransport,
    PooledTransport,
    TransportKind,
    open_transport,
)
from tests.fixtures.waiting import shortest_s

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def read_request(connection: socket.socket) -> bytes:
    """Return a whole request, or nothing when the client has closed the connection."""
    seen = b""
    while not seen.endswith((b"}", b"\r\n\r\n")) or (
        b"\r\n\r\n" in seen[-4:] and b"Content-Length" in seen
    ):
        chunk = connection.recv(65_536)
        if not chunk:
            return b""
        seen += chunk
    return seen


@contextmanager
def server(
    behave: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Accept connections, read the first request of each, and call `behave`."""
    listening = socket.create_server(("127.0.0.1", 0))

    def handle(accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            tls.wrap_socket(accepted, server_side=True) if tls else accepted as connection,
        ):
            read_request(connection)
            behave(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}/"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.fixture(params=["direct", "httpx"])
def kind(request: pytest.FixtureRequest) -> TransportKind:
    found: TransportKind = request.param
    return found


@pytest.fixture
def client(kind: TransportKind) -> Iterator[httpx.Client]:
    with httpx.Client(transport=open_transport(kind), timeout=30) as found:
        yield found


def trickle(connection: socket.socket) -> None:
    """Send a byte every 50 ms without end, so that no single read times out."""
    connection.sendall(HEAD)
    while True:
        connection.sendall(b".")
        time.sleep(0.05)


def trickle_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: y\r\n")
        time.sleep(0.05)


def keep_silent(connection: socket.socket) -> None:
    """Wait until the client leaves."""
    connection.recv(1)


@pytest.mark.parametrize("behave", [trickle, trickle_head, keep_silent])
def test_a_deadline_holds_by_the_wall_clock(
    client: httpx.Client, behave: Callable[[socket.socket], None]
) -> None:
    """A slow or missing answer ends with the deadline, not with the last byte."""
    with server(behave) as url:

        def get() -> None:
            with within(0.3), pytest.raises(httpx.ReadTimeout):
                client.get(url)

        assert shortest_s(get, 0.6) < 0.6


def test_without_a_deadline_the_timeouts_count(client: httpx.Client) -> None:
    """The timeouts of httpx apply."""
    with server(keep_silent) as url, pytest.raises(httpx.ReadTimeout):
        client.get(url, timeout=0.1)


def test_nothing_is_sent_after_the_deadline(client: httpx.Client) -> None:
    """PoolTimeout says that the request was not sent."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1)) as url:
        with within(-1), pytest.raises(httpx.PoolTimeout):
            client.get(url)
        assert seen == []


def test_a_refused_connect_raises_connect_error(client: httpx.Client) -> None:
    with pytest.raises(httpx.ConnectError):
        client.post("http://127.0.0.1:1/", json={})


def test_a_request_that_was_cut_off_is_not_repeated(client: httpx.Client) -> None:
    """The server read the request and closed: it may be processed, so no error says "not sent"."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1)) as url:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(url, json={"to": "1"})
        assert seen == [1]


def test_a_request_that_was_cut_off_on_a_reused_connection_is_not_repeated(
    client: httpx.Client,
) -> None:
    """The same after an earlier request on that connection was answered."""
    seen: list[bytes] = []

    def answer_once(connection: socket.socket) -> None:
        connection.sendall(EMPTY)
        seen.append(read_request(connection))

    with server(answer_once) as url:
        assert client.post(url, json={"to": "1"}).status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(url, json={"to": "2"})
    assert len(seen) == 1
    assert seen[0].endswith(b'{"to":"2"}')


def test_a_cut_body_raises_protocol_error(client: httpx.Client) -> None:
    with (
        server(lambda connection: connection.sendall(HEAD)) as url,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get(url)


class ConnectionCounter:
    """Answers any number of requests on a connection, and counts the connections."""

    def __init__(self) -> None:
        self.connections = 0

    def __call__(self, connection: socket.socket) -> None:
        self.connections += 1
        connection.sendall(EMPTY)
        while read_request(connection):
            connection.sendall(EMPTY)


def test_connections_are_reused(client: httpx.Client) -> None:
    """Consecutive requests use the same connection."""
    counter = ConnectionCounter()
    with server(counter) as url:
        for _ in range(20):
            assert client.post(url, json={"to": "1"}).status_code == 200
        client.close()
    assert counter.connections == 1


def test_a_connection_that_the_server_has_closed_is_not_used(client: httpx.Client) -> None:
    """The transport notices the close before it sends."""
    closed = threading.Semaphore(0)

    def answer_and_close(connection: socket.socket) -> None:
        connection.sendall(EMPTY)
        connection.close()
        closed.release()

    with server(answer_and_close) as url:
        for _ in range(5):
            assert client.post(url, json={"to": "1"}).status_code == 200
            assert closed.acquire(timeout=20)


def test_threads_use_as_many_connections_as_they_need(kind: TransportKind) -> None:
    """16 threads at once: all get an answer, on at most 16 connections."""
    counter = ConnectionCounter()
    answered = []
    with server(counter) as url, httpx.Client(transport=open_transport(kind), timeout=30) as client:
        running = [
            threading.Thread(target=lambda: answered.append(client.get(url).status_code))
            for _ in range(16)
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    assert answered == [200] * 16
    assert 1 <= counter.connections <= 16


def test_expired_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection idle for longest is closed, while the most recent serves."""
    counter = ConnectionCounter()
    transport = DirectTransport(keepalive_s=60)
    now_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: now_s)
    monkeypatch.setattr("shared.http.connection.time", clock)
    with server(counter) as url, httpx.Client(transport=transport, timeout=30) as client:
        with client.stream("GET", url) as first, client.stream("GET", url) as second:
            assert (first.read(), second.read()) == (b"", b"")
        for _ in range(6):
            client.get(url)
            now_s += 15
        assert len(transport._idle) == 1  # noqa: SLF001 - has no public view
    assert counter.connections == 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "platform.test")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = builder.not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    built = built.add_extension(names, critical=False)
    pem = built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_https(kind: TransportKind, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate in SSL_CERT_FILE: answers, reused connections, and deadlines."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    counter = ConnectionCounter()
    with (
        server(counter, tls_context(certificate)) as url,
        httpx.Client(transport=open_transport(kind)) as client,
    ):
        assert [client.post(url, json={}).status_code for _ in range(3)] == [200] * 3
    assert counter.connections == 1
    with (
        server(trickle, tls_context(certificate)) as url,
        httpx.Client(transport=open_transport(kind)) as client,
        within(2),  # a connect within them
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(url)


def test_an_untrusted_certificate_fails_the_connect(
    client: httpx.Client, certificate: Path
) -> None:
    """ConnectError says that nothing was sent."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1), tls_context(certificate)) as url:
        with pytest.raises(httpx.ConnectError):
            client.post(url, json={})
        assert seen == []


@pytest.mark.parametrize(("left_s", "timeout_s"), [(0.2, 30.0), (0.2, None), (30.0, 0.2)])
def test_the_wait_for_a_pooled_connection_ends_with_the_deadline(
    left_s: float, timeout_s: float | None
) -> None:
    """While all connections are busy, the sooner end counts, and the error says "not sent"."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        httpx.Client(transport=PooledTransport(1, 5)) as client,
    ):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def occupy() -> None:
            with pytest.raises(httpx.TransportError):
                client.get(url, timeout=60)

        def wait() -> None:
            with within(left_s), pytest.raises(httpx.PoolTimeout):
                client.get(url, timeout=httpx.Timeout(30, pool=timeout_s))

        busy = threading.Thread(target=occupy)
        busy.start()
        occupied, _ = silent.accept()
        assert 0.15 < shortest_s(wait, 0.6) < 0.6
        occupied.close()
        busy.join()

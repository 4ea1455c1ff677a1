"""Bytes on a real socket, over each transport: the deadline, kept connections, and nothing that is sent twice."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.http.deadline import within
from shared.http.transports import DirectTransport, TransportKind, open_transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def request_of(connection: socket.socket) -> bytes:
    """Return one whole request, or nothing when the other side has gone."""
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
    """Accept connections, read the first request of each, and let `behave` do the rest."""
    listening = socket.create_server(("127.0.0.1", 0))

    def one(accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            tls.wrap_socket(accepted, server_side=True) if tls else accepted as connection,
        ):
            request_of(connection)
            behave(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

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
    """Send a byte now and then, for ever: no single read ever times out."""
    connection.sendall(HEAD)
    while True:
        connection.sendall(b".")
        time.sleep(0.05)


def trickle_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: y\r\n")
        time.sleep(0.05)


@pytest.mark.parametrize("behave", [trickle, trickle_head, lambda _connection: time.sleep(1.5)])
def test_a_deadline_holds_by_the_wall_clock(
    client: httpx.Client, behave: Callable[[socket.socket], None]
) -> None:
    """An answer that trickles in, or never begins, ends with the deadline, not with the last byte."""
    with server(behave) as url:
        began = time.monotonic()
        with within(0.3), pytest.raises(httpx.ReadTimeout):
            client.get(url)
        assert time.monotonic() - began < 0.6


def test_without_a_deadline_the_timeouts_count(client: httpx.Client) -> None:
    """As httpx has them."""
    with server(lambda _connection: time.sleep(0.5)) as url, pytest.raises(httpx.ReadTimeout):
        client.get(url, timeout=0.1)


def test_nothing_leaves_after_the_deadline(client: httpx.Client) -> None:
    """It is told as an error that says so: the request was not sent."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1)) as url:
        with within(-1), pytest.raises(httpx.PoolTimeout):
            client.get(url)
        assert seen == []


def test_a_refused_connect_is_told_as_one(client: httpx.Client) -> None:
    with pytest.raises(httpx.ConnectError):
        client.post("http://127.0.0.1:1/", json={})


def test_a_request_that_was_cut_off_is_not_repeated(client: httpx.Client) -> None:
    """The server has read it and hung up: it may have been processed, and no error says that it was not sent."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1)) as url:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(url, json={"to": "1"})
        assert seen == [1]


def test_one_that_was_cut_off_on_a_kept_connection_is_not_repeated(client: httpx.Client) -> None:
    """The same, when an earlier request on that connection had been answered."""
    seen: list[bytes] = []

    def answer_once(connection: socket.socket) -> None:
        connection.sendall(EMPTY)
        seen.append(request_of(connection))

    with server(answer_once) as url:
        assert client.post(url, json={"to": "1"}).status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(url, json={"to": "2"})
    assert len(seen) == 1
    assert seen[0].endswith(b'{"to":"2"}')


def test_a_cut_body_is_told_as_one(client: httpx.Client) -> None:
    with (
        server(lambda connection: connection.sendall(HEAD)) as url,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get(url)


class Counting:
    """Answers any number of requests on a connection, and counts the connections."""

    def __init__(self) -> None:
        self.connections = 0

    def __call__(self, connection: socket.socket) -> None:
        self.connections += 1
        connection.sendall(EMPTY)
        while request_of(connection):
            connection.sendall(EMPTY)


def test_connections_are_kept(client: httpx.Client) -> None:
    """One after the other, all requests travel over the same one."""
    counting = Counting()
    with server(counting) as url:
        for _ in range(20):
            assert client.post(url, json={"to": "1"}).status_code == 200
        client.close()
    assert counting.connections == 1


def test_a_connection_that_the_server_has_closed_is_not_used(client: httpx.Client) -> None:
    """It is seen before anything is sent on it."""
    with server(lambda connection: connection.sendall(EMPTY)) as url:
        for _ in range(5):
            assert client.post(url, json={"to": "1"}).status_code == 200
            time.sleep(0.05)


def test_threads_use_as_many_connections_as_they_need(kind: TransportKind) -> None:
    """16 threads at once: each has its own answer, none waits for another's, and all are closed in the end."""
    counting, answered = Counting(), []
    with server(counting) as url, httpx.Client(transport=open_transport(kind), timeout=5) as client:
        running = [
            threading.Thread(target=lambda: answered.append(client.get(url).status_code))
            for _ in range(16)
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    assert answered == [200] * 16
    assert 1 <= counting.connections <= 16


def test_idle_connections_are_closed_when_their_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that has been idle for longest goes, while the freshest goes on serving."""
    monkeypatch.setattr("shared.http.transports.KEEPALIVE_S", 0.2)
    counting, transport = Counting(), DirectTransport()
    with server(counting) as url, httpx.Client(transport=transport, timeout=5) as client:
        with client.stream("GET", url) as first, client.stream("GET", url) as second:
            assert (first.read(), second.read()) == (b"", b"")
        for _ in range(6):
            client.get(url)
            time.sleep(0.05)
        assert len(transport._idle) == 1  # noqa: SLF001 - nothing else shows an idle connection
    assert counting.connections == 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a certificate for 127.0.0.1, signed by itself, and its key."""
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


def over_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_https(kind: TransportKind, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate that SSL_CERT_FILE trusts: answers come, connections are kept, deadlines hold."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    counting = Counting()
    with (
        server(counting, over_tls(certificate)) as url,
        httpx.Client(transport=open_transport(kind)) as client,
    ):
        assert [client.post(url, json={}).status_code for _ in range(3)] == [200] * 3
    assert counting.connections == 1
    with (
        server(trickle, over_tls(certificate)) as url,
        httpx.Client(transport=open_transport(kind)) as client,
        within(0.5),
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(url)


def test_a_certificate_that_nobody_vouches_for(client: httpx.Client, certificate: Path) -> None:
    """The connect fails: nothing was sent."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1), over_tls(certificate)) as url:
        with pytest.raises(httpx.ConnectError):
            client.post(url, json={})
        assert seen == []

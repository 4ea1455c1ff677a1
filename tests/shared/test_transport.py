"""Bytes on a real socket: the wall-clock deadline, connects alone repeated, and the guard in front of a platform."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import redis

from shared.breaker import Breaker
from shared.deadline import within
from shared.errors import UnavailableError
from shared.transport import DeadlineTransport, GuardedTransport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections, read each request's head, and let `behave` do the rest."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65_536)
                    behave(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def client_of() -> httpx.Client:
    return httpx.Client(transport=DeadlineTransport(), timeout=30)


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
def test_a_deadline_holds_by_the_wall_clock(behave: Callable[[socket.socket], None]) -> None:
    """An answer that trickles in, or never begins, ends with the deadline, not with the last byte."""
    with server(behave) as url, client_of() as client:
        began = time.monotonic()
        with within(0.3), pytest.raises(httpx.ReadTimeout):
            client.get(url)
        assert time.monotonic() - began < 0.6


def test_without_a_deadline_the_timeouts_count() -> None:
    """As httpx has them."""
    with server(lambda _connection: time.sleep(0.5)) as url, client_of() as client, pytest.raises(httpx.ReadTimeout):
        client.get(url, timeout=0.1)


def test_nothing_leaves_after_the_deadline() -> None:
    """It is told as an error that says so: the request was not sent."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1)) as url, client_of() as client:
        with within(-1), pytest.raises(httpx.PoolTimeout):
            client.get(url)
        assert seen == []


def test_a_request_that_was_cut_off_is_not_repeated() -> None:
    """The server has read it and hung up: it may have been processed."""
    seen: list[int] = []
    with server(lambda _connection: seen.append(1)) as url, client_of() as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(url, json={"to": "1"})
        assert seen == [1]


@pytest.fixture
def breaker(redis_client: "redis.Redis") -> Breaker:
    return Breaker(redis_client, "http://platform.test")


def guarded(breaker: Breaker, answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    transport = GuardedTransport(httpx.MockTransport(answer), breaker)
    return httpx.Client(transport=transport, base_url="http://platform.test")


def test_refused_connects_open_the_breaker(breaker: Breaker) -> None:
    """After five of them the next call does not even try."""
    tries: list[int] = []

    def refuse(_request: httpx.Request) -> httpx.Response:
        tries.append(1)
        raise httpx.ConnectError("refused")  # noqa: EM101 - as httpx does

    with guarded(breaker, refuse) as client:
        for _ in range(5):
            with pytest.raises(httpx.ConnectError):
                client.get("/")
        with pytest.raises(UnavailableError):
            client.get("/")
    assert len(tries) == 5


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429])
def test_any_answer_below_500_is_healthy(breaker: Breaker, status: int) -> None:
    """A refusal or a limit is the platform at work."""
    with guarded(breaker, lambda _request: httpx.Response(status)) as client:
        for _ in range(30):
            assert client.get("/").status_code == status
    assert breaker.state().name == "closed"


@pytest.mark.parametrize("failure", [500, 504, httpx.ReadTimeout("")])
def test_failures_open_the_breaker(breaker: Breaker, failure: int | Exception) -> None:
    """Twenty answers of 500 or more, or none at all."""

    def fail(_request: httpx.Request) -> httpx.Response:
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure)

    with guarded(breaker, fail) as client:
        for _ in range(20):
            try:
                client.get("/")
            except httpx.ReadTimeout:
                continue
        with pytest.raises(UnavailableError):
            client.get("/")


def test_a_full_pool_says_nothing_about_the_platform(breaker: Breaker) -> None:
    """It is ours."""

    def wait(_request: httpx.Request) -> httpx.Response:
        raise httpx.PoolTimeout("full")  # noqa: EM101 - as httpx does

    with guarded(breaker, wait) as client:
        for _ in range(30):
            with pytest.raises(httpx.PoolTimeout):
                client.get("/")
    assert breaker.state().name == "closed"

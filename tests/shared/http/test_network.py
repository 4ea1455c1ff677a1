"""Socket operations within a deadline; test_transports has whole requests."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpcore
import pytest

from shared.http.deadline import within
from shared.http.network import DeadlineBackend
from tests.fixtures.waiting import shortest_s


@pytest.fixture
def stream() -> Iterator[httpcore.NetworkStream]:
    """Return a connection to a server that never sends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = DeadlineBackend().connect_tcp("127.0.0.1", listening.getsockname()[1])
        yield found
        found.close()


def test_a_read_ends_with_the_deadline_or_its_own_timeout(stream: httpcore.NetworkStream) -> None:
    """The sooner end counts."""
    for left_s, timeout in ((0.1, 30.0), (30.0, 0.1), (0.1, None)):

        def read(left_s: float = left_s, timeout: float | None = timeout) -> None:
            with within(left_s), pytest.raises(httpcore.ReadTimeout):
                stream.read(1, timeout)

        assert 0.09 < shortest_s(read, 0.5) < 0.5


def test_after_the_deadline_every_operation_fails(stream: httpcore.NetworkStream) -> None:
    """The type of the error names the operation."""
    with within(-1):
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x")
        with pytest.raises(httpcore.ConnectTimeout):
            DeadlineBackend().connect_tcp("127.0.0.1", 1)


def test_pauses_between_connects_are_cut_short() -> None:
    def sleep() -> None:
        with within(0.05):
            DeadlineBackend().sleep(5)

    assert shortest_s(sleep, 0.5) < 0.5


class FakeNameServer:
    """Resolves `many.test` to the given addresses once `answers` is set; counts the lookups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        self.answers = threading.Event()
        self.answers.set()
        self.lookups = 0
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, *rest: Any, **flags: Any) -> list[Any]:
        if host != "many.test" or flags.get("flags"):
            return self._system(host, port, *rest, **flags)
        self.lookups += 1
        self.answers.wait(60)
        return [
            found
            for address in self.addresses
            for found in self._system(address, port, type=socket.SOCK_STREAM)
        ]


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port where connects to 127.0.0.2, .3 and .4 hang, as behind a firewall."""
    with ExitStack() as stack:
        port = 0
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            listening = stack.enter_context(socket.create_server((address, port), backlog=0))
            port = listening.getsockname()[1]
            for _ in range(3):  # fills the backlog
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)  # noqa: FBT003 - positional in the API
                waiting.connect_ex((address, port))
        yield port


def test_all_addresses_of_a_name_share_one_timeout(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three addresses without an answer take no longer than a single address."""
    FakeNameServer(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.4")
    for left_s, timeout in ((0.3, 30.0), (30.0, 0.3)):

        def connect(left_s: float = left_s, timeout: float = timeout) -> None:
            with within(left_s), pytest.raises(httpcore.ConnectTimeout):
                DeadlineBackend().connect_tcp("many.test", silent, timeout)

        assert 0.25 < shortest_s(connect, 0.6) < 0.6


def test_a_later_address_is_reached_after_silent_ones(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each address leaves time for the next."""
    # On 127.0.0.1 this port may be in use: clients of the servers of tests have theirs there.
    FakeNameServer(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.5")
    with socket.create_server(("127.0.0.5", silent)):
        DeadlineBackend().connect_tcp("many.test", silent, 3).close()


def test_a_silent_name_server_does_not_delay_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Callers leave at their deadline, and share a lookup per name."""
    server = FakeNameServer(monkeypatch, "127.0.0.1")
    server.answers.clear()
    backend = DeadlineBackend()

    def connect() -> None:
        with within(0.2), pytest.raises(httpcore.ConnectTimeout):
            backend.connect_tcp("many.test", 1)

    def connect_together() -> None:
        threads = [threading.Thread(target=connect) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert shortest_s(connect_together, 0.5) < 0.5
    assert server.lookups == 1
    server.answers.set()
    for thread in threading.enumerate():
        if thread.name == "dns-lookup":
            thread.join()


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "\ud800"])
def test_a_name_without_an_address_raises_connect_error(host: str) -> None:
    with pytest.raises(httpcore.ConnectError):
        DeadlineBackend().connect_tcp(host, 1, 5)

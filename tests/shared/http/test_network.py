"""Socket operations within a deadline. What a whole answer makes of them is in test_transport."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpcore
import pytest

from shared.http.deadline import within
from shared.http.network import DeadlineBackend


@pytest.fixture
def stream() -> Iterator[httpcore.NetworkStream]:
    """Return a connection to somebody who never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = DeadlineBackend().connect_tcp("127.0.0.1", listening.getsockname()[1])
        yield found
        found.close()


def test_a_read_ends_with_the_deadline_or_its_own_timeout(stream: httpcore.NetworkStream) -> None:
    """Whichever is sooner."""
    for left_s, timeout in ((0.1, 30.0), (30.0, 0.1), (0.1, None)):
        began = time.monotonic()
        with within(left_s), pytest.raises(httpcore.ReadTimeout):
            stream.read(1, timeout)
        assert 0.09 < time.monotonic() - began < 0.5


def test_after_the_deadline_nothing_begins(stream: httpcore.NetworkStream) -> None:
    """Each operation says by its error which one it was."""
    with within(-1):
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x")
        with pytest.raises(httpcore.ConnectTimeout):
            DeadlineBackend().connect_tcp("127.0.0.1", 1)


def test_pauses_between_connects_are_cut_short() -> None:
    began = time.monotonic()
    with within(0.05):
        DeadlineBackend().sleep(5)
    assert time.monotonic() - began < 0.5


class NameServer:
    """Answers for `many.test` with the addresses given, after some time."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *addresses: str, takes_s: float = 0.0
    ) -> None:
        self.addresses, self.takes_s, self.asked = addresses, takes_s, 0
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, *rest: Any, **flags: Any) -> list[Any]:
        if host != "many.test" or flags.get("flags"):
            return self._system(host, port, *rest, **flags)
        self.asked += 1
        time.sleep(self.takes_s)
        return [
            found
            for each in self.addresses
            for found in self._system(each, port, type=socket.SOCK_STREAM)
        ]


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port at which 127.0.0.2, .3 and .4 let every connect wait, as a firewall does that drops them."""
    with ExitStack() as stack:
        port = 0
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            listening = stack.enter_context(socket.create_server((address, port), backlog=0))
            port = listening.getsockname()[1]
            for _ in range(3):  # its queue is full then
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)  # noqa: FBT003 - its name there
                waiting.connect_ex((address, port))
        yield port


def test_all_addresses_of_a_name_share_one_timeout(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three that do not answer take no longer than one would."""
    NameServer(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.4")
    for left_s, timeout in ((0.3, 30.0), (30.0, 0.3)):
        began = time.monotonic()
        with within(left_s), pytest.raises(httpcore.ConnectTimeout):
            DeadlineBackend().connect_tcp("many.test", silent, timeout)
        assert 0.25 < time.monotonic() - began < 0.6


def test_an_address_that_answers_is_reached_behind_those_that_do_not(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them eats up the time of the next."""
    NameServer(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.1")
    with socket.create_server(("127.0.0.1", silent)):
        DeadlineBackend().connect_tcp("many.test", silent, 0.6).close()


def test_a_name_server_that_does_not_answer_is_left_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And however many ask for the same name, one look-up is under way."""
    names = NameServer(monkeypatch, "127.0.0.1", takes_s=0.6)
    backend, took = DeadlineBackend(), []

    def connect() -> None:
        began = time.monotonic()
        with within(0.2), pytest.raises(httpcore.ConnectTimeout):
            backend.connect_tcp("many.test", 1)
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(took) < 0.5
    assert names.asked == 1
    for thread in threading.enumerate():
        if thread.name == "names":
            thread.join()


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "\ud800"])
def test_a_name_without_an_address_is_no_connection(host: str) -> None:
    with pytest.raises(httpcore.ConnectError):
        DeadlineBackend().connect_tcp(host, 1, 5)

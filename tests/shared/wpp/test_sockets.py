"""Socket operations within a deadline. What a whole answer makes of them is in test_transport."""

import socket
import time
from collections.abc import Iterator

import httpcore
import pytest

from shared.deadline import within
from shared.wpp.sockets import DeadlineBackend


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

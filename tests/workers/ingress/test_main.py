"""The web process before it serves: its port, and how many files it may open."""

import argparse
import resource
import socket

import pytest

from sandbox.ports import LOCALHOST, free_port
from shared.errors import ConfigurationError
from workers.ingress.__main__ import (
    RESERVED_FILES,
    allow_open_files,
    parse_port,
    require_free_port,
)


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("8000", 8000), ("65535", 65_535)])
def test_a_port_is_read(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["65536", "-1", "http", ""])
def test_what_is_no_port_is_refused_with_the_variable(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no port: .*PORT in the Procfile"):
        parse_port(text)


def test_a_taken_port_is_named() -> None:
    require_free_port(LOCALHOST, free_port())
    with socket.create_server((LOCALHOST, 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"PORT or HOST: {LOCALHOST}:{port}"):
            require_free_port(LOCALHOST, port)


def test_a_connection_has_a_file_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the hard limit permits."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: given.append(limits))
    allow_open_files(100)
    assert given == []
    allow_open_files(2000)
    allow_open_files(10_000)
    assert given == [(2000 + RESERVED_FILES, 4096), (4096, 4096)]

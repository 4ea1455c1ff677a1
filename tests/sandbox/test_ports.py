"""Free ports differ; a taken port is named with its holder."""

import os
import socket
import threading

import pytest

from sandbox import ports
from sandbox.errors import PortTakenError
from sandbox.ports import FIRST, LOCALHOST, claim_port, free_port


def test_free_ports_differ() -> None:
    """They stay below the range of outgoing connections."""
    found = [free_port() for _ in range(20)]
    assert len(set(found)) == 20
    assert min(found) >= FIRST
    assert max(found) < 32_768


def test_parts_of_the_ports_have_none_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_candidates", None)  # puts it back afterwards
    found = []
    for part in range(2):
        ports.use_part(part, 2)
        found.append({free_port() for _ in range(20)})
    assert found[0].isdisjoint(found[1])


def test_a_taken_port_is_named_with_its_holder() -> None:
    with socket.create_server((LOCALHOST, 0)) as holder:
        port = holder.getsockname()[1]
        expected = rf"port {port}, needed by the server, is taken by .*pid {os.getpid()}"
        with pytest.raises(PortTakenError, match=expected):
            claim_port("the server", port)


def test_a_port_that_becomes_free_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CLAIM_WITHIN_S", 20.0)
    holder = socket.create_server((LOCALHOST, 0))
    port = holder.getsockname()[1]
    threading.Timer(0.2, holder.close).start()
    claim_port("the server", port)

"""Ports on 127.0.0.1: find a free port, or claim a port and name its holder."""

import random
import socket
import time
from itertools import cycle

from sandbox.errors import PortTakenError, SandboxError

LOCALHOST = "127.0.0.1"
FIRST = 18_000
END = 32_000  # from 32768 on, an outgoing connection may hold a port
CLAIM_WITHIN_S = 1.5  # servers of a killed parent need a moment to end


def free_port() -> int:
    """Return a port without a listener, a different port at each call."""
    for _ in range(END - FIRST):
        port = next(_candidates)
        if _can_bind(port):
            return port
    msg = f"no free port on {LOCALHOST} between {FIRST} and {END}"
    raise SandboxError(msg)


def use_part(part: int, parts: int) -> None:
    """Have `free_port` use a part of the ports: processes beside it use the rest."""
    global _candidates  # noqa: PLW0603 - the ports of this process
    _candidates = cycle(_shuffle(range(FIRST + part, END, parts)))


def claim_port(name: str, port: int) -> None:
    """Make sure that `port` is free for the program `name`.

    Raises:
        PortTakenError: it is not; names the holder where the system tells it.
    """
    deadline = time.monotonic() + CLAIM_WITHIN_S
    while not _can_bind(port):
        if time.monotonic() > deadline:
            msg = (
                f"port {port}, needed by {name}, is taken by {_find_holder(port)}: "
                "stop that, or choose another port"
            )
            raise PortTakenError(msg)
        time.sleep(0.05)


def _shuffle(ports: range) -> list[int]:
    """Return ports in a random order: two programs rarely choose the same port."""
    order = list(ports)
    random.SystemRandom().shuffle(order)  # not seeded: pytest plugins seed `random` alike
    return order


_candidates = cycle(_shuffle(range(FIRST, END)))


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
        return True


def _find_holder(port: int) -> str:
    import psutil  # noqa: PLC0415 - slow to load, rarely needed

    try:
        listeners = [
            connection
            for connection in psutil.net_connections("tcp")
            if connection.status == "LISTEN" and connection.laddr.port == port
        ]
        process = psutil.Process(next(found.pid for found in listeners if found.pid))
        return f"{process.name()} (pid {process.pid})"
    except (psutil.Error, StopIteration):
        return "another program"

"""Ports on 127.0.0.1: find a free one, or make sure of one, and say who is in the way."""

import random
import socket
import time
from collections.abc import Iterator
from functools import cache
from itertools import cycle

from sandbox.errors import PortTakenError, SandboxError

LOCALHOST = "127.0.0.1"
FIRST, END = 18_000, 32_000  # from 32768 on, an outgoing connection may hold a port
GIVEN_UP_AFTER_S = 1.5  # what a killed launcher left behind needs a moment to end


def free_port() -> int:
    """Return a port that nobody listens on, another one each time."""
    for _ in range(END - FIRST):
        port = next(_candidates())
        if _bindable(port):
            return port
    msg = f"no free port on {LOCALHOST} between {FIRST} and {END}"
    raise SandboxError(msg)


def claim(name: str, port: int) -> None:
    """Make sure that `port` is free for the program `name`.

    Raises:
        PortTakenError: it is not; names who holds it, where that can be known.
    """
    give_up = time.monotonic() + GIVEN_UP_AFTER_S
    while not _bindable(port):
        if time.monotonic() > give_up:
            msg = f"port {port}, needed by {name}, is taken by {_holder(port)}: stop that, or choose another port"
            raise PortTakenError(msg)
        time.sleep(0.05)


@cache
def _candidates() -> Iterator[int]:
    ports = list(range(FIRST, END))
    random.shuffle(ports)  # two test sessions at once rarely meet
    return cycle(ports)


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
        return True


def _holder(port: int) -> str:
    import psutil  # noqa: PLC0415 - slow to load, and seldom needed

    try:
        held = [
            one
            for one in psutil.net_connections("tcp")
            if one.status == "LISTEN" and one.laddr.port == port
        ]
        process = psutil.Process(next(one.pid for one in held if one.pid))
        return f"{process.name()} (pid {process.pid})"
    except (psutil.Error, StopIteration):
        return "another program"

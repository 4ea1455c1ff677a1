"""A TCP proxy that fails on demand: it can take a request through and lose the reply, which no kill can time."""

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

LOCALHOST = "127.0.0.1"
CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends a reset instead of an orderly end."""


class Proxy:
    """Forwards to `port` on this machine, as a context manager.

    `cut_after`     the next request that contains some bytes is executed, and its connection reset before the reply
    `swallow_after` the same, but the connection stays open and silent: the client runs into its timeout
    `refuse`        every connection is reset, and each new one, until `accept`
    `hits`          how many requests were cut or swallowed
    """

    def __init__(self, port: int) -> None:
        self.hits = 0
        self._upstream_port = port
        self._faults: list[tuple[bytes, Literal["cut", "swallow"]]] = []
        self._refusing = False
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOCALHOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://{LOCALHOST}:{self.port}/0"
        threading.Thread(target=self._serve, daemon=True, name="proxy").start()

    def cut_after(self, match: bytes, times: int = 1) -> None:
        with self._lock:
            self._faults += [(match, "cut")] * times

    def swallow_after(self, match: bytes, times: int = 1) -> None:
        with self._lock:
            self._faults += [(match, "swallow")] * times

    def refuse(self) -> None:
        self._refusing = True
        self._reset_all()

    def accept(self) -> None:
        self._refusing = False

    def fault_for(self, request: bytes) -> Literal["cut", "swallow"] | None:
        """Return what is to happen to the reply to `request`; each fault happens once."""
        with self._lock:
            for fault in self._faults:
                if fault[0] in request:
                    self._faults.remove(fault)
                    self.hits += 1
                    return fault[1]
        return None

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self._reset_all()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                upstream = (
                    None
                    if self._refusing
                    else socket.create_connection((LOCALHOST, self._upstream_port))
                )
            except OSError:
                upstream = None
            if upstream is None:
                _reset(client)
                continue
            pair = _Pair(self, client, upstream)
            with self._lock:
                self._pairs.add(pair)
            pair.start()

    def _reset_all(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class _Pair:
    """One proxied connection."""

    def __init__(self, proxy: Proxy, client: socket.socket, upstream: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream = upstream
        self._fault: Literal["cut", "swallow"] | None = None

    def start(self) -> None:
        for end in (self._client, self._upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._requests, daemon=True).start()
        threading.Thread(target=self._replies, daemon=True).start()

    def reset(self) -> None:
        _reset(self._client)
        _reset(self._upstream)

    def _requests(self) -> None:
        with suppress(OSError):
            while request := self._client.recv(CHUNK):
                self._fault = self._proxy.fault_for(request) or self._fault
                self._upstream.sendall(request)
        self.reset()

    def _replies(self) -> None:
        with suppress(OSError):
            while reply := self._upstream.recv(CHUNK):  # the request has been executed
                if self._fault == "cut":
                    break
                if self._fault is None:
                    self._client.sendall(reply)
        self.reset()


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RD)  # wakes a thread in recv(), which would keep the socket open
    end.close()

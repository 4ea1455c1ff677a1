"""Sockets that keep to the `deadline` around a call.

httpx's timeouts are per read: an answer that trickles in may last for ever. Its connect timeout is per address, and
none bounds the look-up of a name. Here each operation of a call gets what is left of its deadline, all its addresses
and their look-up together, and fails when nothing is.
"""

import math
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import httpcore

from shared.http.deadline import remaining


class NameResolver:
    """Looks up names, each at most once at a time.

    The system's look-up cannot be interrupted, so a thread of its own does it: who asked leaves in time, and however
    many ask for a name that no server answers for, one thread waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, int], Future[list[str]]] = {}

    def addresses(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        """Return the addresses of a name, in the system's order.

        Raises:
            httpcore.ConnectTimeout: nobody has answered within `timeout_s`.
            httpcore.ConnectError: it has none.
        """
        try:
            return _addresses(host, port, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            answer = self._ask(host, port)
        try:
            return answer.result(timeout_s)
        except TimeoutError as error:
            msg = "no name server has answered in time"
            raise httpcore.ConnectTimeout(msg) from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error

    def _ask(self, host: str, port: int) -> "Future[list[str]]":
        with self._lock:
            answer = self._asked.get((host, port))
            if answer is None:
                answer = self._asked[host, port] = Future()
                threading.Thread(
                    target=self._look_up, args=(host, port, answer), name="names", daemon=True
                ).start()
            return answer

    def _look_up(self, host: str, port: int, answer: "Future[list[str]]") -> None:
        try:
            found = _addresses(host, port)
        except Exception as error:  # noqa: BLE001 - told to those who asked
            answer.set_exception(error)
        else:
            answer.set_result(found)
        finally:
            with self._lock:
                del self._asked[host, port]


class DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner, self._names = httpcore.SyncBackend(), NameResolver()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; each gets its share of what is left, so that all are tried."""
        end = time.monotonic() + (_left(timeout, httpcore.ConnectTimeout) or math.inf)
        last: Exception = httpcore.ConnectError("the name has no address")
        found = self._names.addresses(host, port, _until(end))
        for index, address in enumerate(found):
            left_s = _until(end)
            share_s = left_s and left_s / (len(found) - index)
            try:
                return _Stream(
                    self._inner.connect_tcp(address, port, share_s, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(min(seconds, max(0.0, remaining())))


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _addresses(host: str, port: int, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """Return the seconds for one operation: its own timeout, or what is left of the deadline."""
    left_s = min(remaining(), math.inf if timeout is None else timeout)
    if left_s <= 0:
        raise error
    return None if left_s == math.inf else left_s


def _until(end: float) -> float | None:
    """Return the seconds until `end`, a thousandth at least: zero would mean not to wait at all."""
    return None if end == math.inf else max(0.001, end - time.monotonic())

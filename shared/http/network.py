"""DNS lookups and sockets within the deadline of a call (`shared.http.deadline`).

httpx's read timeout limits a single read, so a slow stream of bytes may last for ever. Its connect
timeout limits a single address, and no timeout limits a DNS lookup. Here each operation gets the
rest of the call's deadline, and fails once the deadline has passed. A lookup and all its addresses
share it.
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
    """Resolves names, with a single running lookup per name.

    The system's lookup cannot be interrupted, so it runs in a thread of its own. Callers leave at
    their timeout, and only that thread waits for a name server that does not answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Future[list[str]]] = {}

    def resolve(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        """Return the addresses of a name, in the system's order.

        Raises:
            httpcore.ConnectTimeout: no answer within `timeout_s`.
            httpcore.ConnectError: the name has no address.
        """
        try:
            return _get_addresses(host, port, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            answer = self._start_lookup(host, port)
        try:
            return answer.result(timeout_s)
        except TimeoutError as error:
            msg = "no answer from a name server in time"
            raise httpcore.ConnectTimeout(msg) from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error

    def _start_lookup(self, host: str, port: int) -> "Future[list[str]]":
        with self._lock:
            answer = self._running.get((host, port))
            if answer is None:
                answer = self._running[host, port] = Future()
                threading.Thread(
                    target=self._run_lookup,
                    args=(host, port, answer),
                    name="dns-lookup",
                    daemon=True,
                ).start()
            return answer

    def _run_lookup(self, host: str, port: int, answer: "Future[list[str]]") -> None:
        try:
            found = _get_addresses(host, port)
        except Exception as error:  # noqa: BLE001 - the callers raise it
            answer.set_exception(error)
        else:
            answer.set_result(found)
        finally:
            with self._lock:
                del self._running[host, port]


class DeadlineBackend(httpcore.NetworkBackend):
    """httpcore's network backend with resolved names and deadlines."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._resolver = NameResolver()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; each gets an equal share of the time left."""
        end = time.monotonic() + (_get_left_s(timeout, httpcore.ConnectTimeout) or math.inf)
        last: Exception = httpcore.ConnectError("the name has no address")
        addresses = self._resolver.resolve(host, port, _get_left_until_s(end))
        for index, address in enumerate(addresses):
            left_s = _get_left_until_s(end)
            share_s = left_s and left_s / (len(addresses) - index)
            try:
                return _DeadlineStream(
                    self._inner.connect_tcp(address, port, share_s, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(min(seconds, max(0.0, remaining())))


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _get_left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _get_left_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _get_left_s(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _get_addresses(host: str, port: int, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _get_left_s(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """Return the seconds for an operation: its own timeout or the rest of the deadline."""
    left_s = min(remaining(), math.inf if timeout is None else timeout)
    if left_s <= 0:
        raise error
    return None if left_s == math.inf else left_s


def _get_left_until_s(end: float) -> float | None:
    """Return the seconds until `end`, at least 1 ms; zero would be a non-blocking socket."""
    return None if end == math.inf else max(0.001, end - time.monotonic())

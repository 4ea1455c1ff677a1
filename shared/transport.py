"""How bytes travel: httpx's transport with a wall-clock deadline, and the guard that spares a platform in trouble.

httpx's own timeouts are per read: an answer that trickles in may last for ever. Here each socket operation of a call
gets what is left of the `deadline` around it.
"""

import math
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from shared.breaker import Breaker
from shared.deadline import remaining

LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=128, keepalive_expiry=3.0)
"""Idle connections are closed before the platform does it (Node's default is 5 s): sending on one that the other side
is just closing leaves nobody knowing what became of the message."""


class DeadlineTransport(httpx.HTTPTransport):
    """httpx's HTTP/1.1 transport within the surrounding deadline; repeats connects, once, and nothing else."""

    def __init__(self) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=LIMITS.max_connections,
            max_keepalive_connections=LIMITS.max_keepalive_connections,
            keepalive_expiry=LIMITS.keepalive_expiry,
            retries=1,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if remaining() <= 0:
            msg = "the deadline passed before the request left"
            raise httpx.PoolTimeout(msg)
        return super().handle_request(request)


class GuardedTransport(httpx.BaseTransport):
    """Tells the breaker how each request went, and sends none while it is open.

    A 429 is an answer of a healthy platform. Waiting for a free connection of our own pool says nothing about it.
    """

    def __init__(self, inner: httpx.BaseTransport, breaker: Breaker) -> None:
        self._inner, self._breaker = inner, breaker

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._breaker.call() as call:
            try:
                response = self._inner.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                call.failed(reached=False)
                raise
            except httpx.PoolTimeout:
                raise
            except httpx.TransportError:
                call.failed()
                raise
            if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                call.failed()
            else:
                call.succeeded()
            return response

    def close(self) -> None:
        self._inner.close()


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


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left_s, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(min(seconds, max(0.0, remaining())))


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """Return the seconds for one operation: its own timeout, or what is left of the deadline."""
    left_s = min(remaining(), math.inf if timeout is None else timeout)
    if left_s <= 0:
        raise error
    return None if left_s == math.inf else left_s

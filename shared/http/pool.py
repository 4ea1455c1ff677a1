"""httpx's own pool of HTTP/1.1 connections, within the surrounding deadline."""

import math

import httpcore
import httpx

from shared.http.deadline import remaining
from shared.http.network import DeadlineBackend


class PooledTransport(httpx.HTTPTransport):
    """Repeats connects, once, and nothing else. Idle connections are closed after `keepalive_s`."""

    def __init__(self, connections: int, keepalive_s: float) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=keepalive_s,
            retries=1,
            network_backend=DeadlineBackend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_deadline()
        timeout = request.extensions.get("timeout", {})
        wait_s = min(remaining(), math.inf if timeout.get("pool") is None else timeout["pool"])
        if wait_s < math.inf:  # for a free connection, which no operation on a socket would end
            request.extensions = {**request.extensions, "timeout": {**timeout, "pool": wait_s}}
        return super().handle_request(request)


def check_deadline() -> None:
    """Raise an error that says that nothing was sent, once the deadline has passed."""
    if remaining() <= 0:
        msg = "the deadline passed before the request left"
        raise httpx.PoolTimeout(msg)

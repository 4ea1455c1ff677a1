"""An HTTP transport that sends no request while a circuit breaker is open."""

import httpx

from shared.platform.circuit_breaker import CircuitBreaker

LOCAL_FAILURES = (httpx.PoolTimeout, httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""Failures of this process: a full connection pool or a token that fits no header."""


class CircuitBreakerTransport(httpx.BaseTransport):
    """Reports the result of each request to the breaker, and sends none while it is open.

    A request's extensions name its `account`, and say whether it is `idempotent`. A 429 is an
    answer of a healthy platform. `LOCAL_FAILURES` say nothing about the platform.
    """

    def __init__(self, inner: httpx.BaseTransport, breaker: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = breaker

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        account = request.extensions.get("account")
        may_probe = request.extensions.get("idempotent", True)
        with self._breaker.call(account, may_probe=may_probe) as call:
            try:
                response = self._inner.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                call.failed(reached=False)
                raise
            except LOCAL_FAILURES:
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

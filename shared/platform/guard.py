"""The guard in front of a platform in trouble."""

import httpx

from shared.platform.circuit_breaker import CircuitBreaker

LOCAL_FAILURES = (httpx.PoolTimeout, httpx.LocalProtocolError, httpx.UnsupportedProtocol)


class CircuitBreakerTransport(httpx.BaseTransport):
    """Tells the breaker how each request went, and sends none while it is open.

    A 429 is an answer of a healthy platform. Waiting for a free connection of our own pool says nothing about it; nor
    does a request that we cannot write, such as one with a token that fits into no header.
    """

    def __init__(self, inner: httpx.BaseTransport, breaker: CircuitBreaker) -> None:
        self._inner, self._breaker = inner, breaker

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._breaker.call() as call:
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

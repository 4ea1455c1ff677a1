"""A span for each call to the platform: method, host, status and the shape of its path."""

import re

import httpx

from shared.traces import Traces

NAMED = re.compile(r"(?<=/)[^/]*(?:\d|%|@|[A-Z])[^/]*|(?<=/)[\w.-]{24,}")
"""Parts of a path that may be an account, a phone or a key."""


class TracedTransport(httpx.BaseTransport):
    """Makes a span, a child of the current one, of each request of the transport within."""

    def __init__(self, inner: httpx.BaseTransport, traces: Traces) -> None:
        self._inner = inner
        self._traces = traces

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = NAMED.sub("…", request.url.path)
        attributes = {
            "http.request.method": request.method,
            "server.address": request.url.host,
            "url.template": path,
        }
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415

        with self._traces.span(
            f"platform {request.method} {path}", kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            response = self._inner.handle_request(request)
            span.set_attribute("http.response.status_code", response.status_code)
            if response.is_error:
                span.set_status(StatusCode.ERROR)
            return response

    def close(self) -> None:
        self._inner.close()

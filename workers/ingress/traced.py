"""The ingress with traces: a span for each request that changes something, and for each event."""

from typing import Any

from starlette.types import Receive, Scope, Send

from shared.lanes.types import Accepted, Append
from shared.traces import FIELD, Traces, find_traces, mark_append, read_parent, write_parent
from workers.ingress.enqueue import BatchingProducer

READS = ("GET", "HEAD", "OPTIONS")


class TracedProducer(BatchingProducer):
    """Makes a span of each event that is accepted; the event carries it on."""

    def __init__(self, client: Any, lanes: Any, traces: Traces) -> None:
        super().__init__(client, lanes)
        self._traces = traces

    async def append(self, item: Append) -> Accepted:
        attributes = {"wpp.queue": item.queue, "wpp.tenant": item.tenant, "wpp.id": str(item.id)}
        with self._traces.span("accept", attributes=attributes) as span:
            accepted = await super().append(mark_append(item, write_parent(span)))
            span.set_attribute("wpp.new", accepted.new)
            return accepted


def make_producer(client: Any, lanes: Any) -> BatchingProducer:
    """Return the producer of the ingress, with spans where traces are on."""
    traces = find_traces()
    return TracedProducer(client, lanes, traces) if traces else BatchingProducer(client, lanes)


class TracedRequests:
    """An app with a span for each request, which continues the trace of its caller."""

    def __init__(self, app: Any, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READS:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        route = "/".join(scope["path"].split("/")[:3])
        with self._traces.span(
            f"{scope['method']} {route}",
            parent=read_parent(_read_header(scope)),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.template": route},
        ) as span:

            async def answer(message: Any) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, answer)


def _read_header(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == FIELD.encode()]
    return values[0].decode("latin-1") if values else None

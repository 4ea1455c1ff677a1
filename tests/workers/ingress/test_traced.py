"""A request that changes something has a span, which continues that of its caller."""

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.traces import Traces, use_traces
from workers.ingress.enqueue import BatchingProducer
from workers.ingress.traced import TracedProducer, TracedRequests, make_producer

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def spans_of(method: str, path: str, headers: dict[str, str]) -> list[ReadableSpan]:
    """Return the spans of a request to an app that answers 202."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        pass

    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": listed}
    asyncio.run(TracedRequests(app, Traces(provider))(scope, receive, send))
    return list(exporter.get_finished_spans())


def test_a_request_continues_the_trace_of_its_caller() -> None:
    (span,) = spans_of("POST", "/v1/messages", {"traceparent": PARENT})
    assert span.context
    assert f"{span.context.trace_id:032x}" == TRACE
    assert dict(span.attributes or {})["http.response.status_code"] == 202


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/webhooks/wpp/account_7/" + "k" * 43, "POST /webhooks/wpp"),
        ("/v1/conversations/79990001122/read", "POST /v1/conversations"),
    ],
)
def test_a_path_is_told_by_its_beginning(path: str, name: str) -> None:
    """The rest may be a phone or a key."""
    (span,) = spans_of("POST", path, {})
    assert span.name == name
    assert path not in str(span.attributes)
    assert span.parent is None


def test_reads_have_no_span() -> None:
    assert spans_of("GET", "/v1/messages", {"traceparent": PARENT}) == []


def test_the_producer_makes_spans_only_where_traces_are_on() -> None:
    client: Any = object()
    assert type(make_producer(client, client)) is BatchingProducer
    use_traces(Traces(TracerProvider()))
    try:
        assert type(make_producer(client, client)) is TracedProducer
    finally:
        use_traces(None)

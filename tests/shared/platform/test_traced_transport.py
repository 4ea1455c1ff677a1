"""A call to the platform has a span without what its path names."""

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared.platform.traced_transport import TracedTransport
from shared.traces import Traces


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def open_client(exporter: InMemorySpanExporter, status: int) -> httpx.Client:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def answer(request: httpx.Request) -> httpx.Response:
        if status == 0:
            msg = "the key sk-1 was in it"
            raise httpx.ConnectError(msg, request=request)
        return httpx.Response(status)

    return httpx.Client(transport=TracedTransport(httpx.MockTransport(answer), Traces(provider)))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/api/send/text", "/api/send/text"),
        ("/api/webhooks/79990001122", "/api/webhooks/…"),
        ("/internal/session/org_5f0c/webhook", "/internal/session/…/webhook"),
        ("/api/media/3EB0AA%40c.us/79990001122@c.us", "/api/media/…/…"),
        ("/api/" + "abcdef" * 5 + "/qr", "/api/…/qr"),
    ],
)
def test_a_path_is_told_without_what_it_names(
    exporter: InMemorySpanExporter, path: str, told: str
) -> None:
    with open_client(exporter, 200) as client:
        client.post(f"https://user:secret@platform.example{path}?token=secret", json={"to": "7999"})
    (span,) = exporter.get_finished_spans()
    assert span.name == f"platform POST {told}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "server.address": "platform.example",
        "url.template": told,
        "http.response.status_code": 200,
    }


def test_a_failed_call_is_an_error_of_its_class(exporter: InMemorySpanExporter) -> None:
    """Its text is left out: it may hold a key."""
    with open_client(exporter, 503) as client:
        client.get("https://platform.example/health")
    with open_client(exporter, 0) as client, pytest.raises(httpx.ConnectError):
        client.get("https://platform.example/health")
    refused, failed = exporter.get_finished_spans()
    assert refused.status.status_code == StatusCode.ERROR
    assert (failed.status.description, failed.events) == ("ConnectError", ())

"""Traces are off, and cost nothing, unless a setting says where they go."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import routing, traces
from shared.errors import ConfigurationError
from shared.events import Message, SendEvent
from shared.settings import TraceSettings, load_settings
from shared.traces import Traces

ROOT = Path(__file__).parents[2]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(exporter: InMemorySpanExporter) -> Traces:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider)


LOADED = "{name for name in sys.modules if name.startswith('opentelemetry')}"
STARTED_WITHOUT = f"""
import sys
import dramatiq, fastapi, httpx, redis.asyncio, supabase, uvicorn
by_libraries = {LOADED}
import workers.ingress.__main__, workers.actors, workers.recorder, workers.clock.__main__
from shared import traces
from workers.broker import broker, trace_events
before = len(broker.middleware)
traces.start_traces("web")
trace_events()
assert traces.find_traces() is None
assert len(broker.middleware) == before
print(*sorted({LOADED} - by_libraries))
"""


def test_without_the_setting_nothing_of_opentelemetry_is_loaded() -> None:
    """In any process, besides what libraries load by themselves; and nothing makes spans."""
    environment = {name: value for name, value in os.environ.items() if "OTEL_" not in name}
    done = subprocess.run(
        [sys.executable, "-c", STARTED_WITHOUT],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout.split() == []


def test_the_setting_without_its_packages_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"ENDPOINT: .* -r requirements/traces\.txt"):
        traces.start_traces("web")
    assert traces.find_traces() is None


def test_a_wrong_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_ENDPOINT: "):
        traces.start_traces("web")


def test_headers_are_read_as_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty address is none, as of a variable that Compose passes on."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20key, X-Org=7")
    settings = load_settings(TraceSettings)
    assert settings.headers == {"authorization": "Bearer key", "x-org": "7"}
    assert "key" not in repr(settings)
    assert settings.otel_exporter_otlp_endpoint is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_HEADERS: give headers as"):
        load_settings(TraceSettings)


def test_an_append_carries_its_span_and_stays_the_same_request() -> None:
    """The event names the span, as do its outcomes; the fingerprint does not."""
    item = routing.route_send(uuid4(), uuid4(), Message(to="+79990001122", text="Hello"))
    marked = traces.mark_append(item, PARENT)
    event = SendEvent.model_validate_json(marked.body)
    assert (event.traceparent, event.text) == (PARENT, "Hello")
    assert SendEvent.model_validate_json(item.body).traceparent is None
    assert "traceparent" not in item.body
    assert marked.fingerprint == item.fingerprint
    assert (
        routing.route_event(event).fingerprint
        == routing.route_event(event.model_copy(update={"traceparent": None})).fingerprint
    )
    (queued,) = marked.outcomes
    assert json.loads(queued.model_dump_json())["traceparent"] == PARENT


def test_a_span_continues_its_parent_and_names_an_error_by_its_class(
    traced: Traces, exporter: InMemorySpanExporter
) -> None:
    named = []

    def fail() -> None:
        with traced.span("work", parent=traces.read_parent(PARENT)) as span:
            named.append(traces.write_parent(span))
            msg = "a secret"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="secret"):
        fail()
    assert named[0].startswith(PARENT[:36])
    (done,) = exporter.get_finished_spans()
    assert (done.status.description, done.events) == ("ValueError", ())
    assert done.parent
    assert f"{done.parent.span_id:x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("wrong", [None, "", "00-xyz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_wrong_parent_begins_a_trace(
    traced: Traces, exporter: InMemorySpanExporter, wrong: str | None
) -> None:
    with traced.span("work", parent=traces.read_parent(wrong)):
        pass
    (done,) = exporter.get_finished_spans()
    assert done.parent is None

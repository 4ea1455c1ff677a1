"""Traces of messages for OpenTelemetry, over all processes: docs/traces.md.

They are off unless OTEL_EXPORTER_OTLP_ENDPOINT is set, and then cost nothing: each process looks
once, at its start, and nothing of OpenTelemetry is loaded. Spans name ids of organizations, numbers
and messages; they hold no text, no phone and no secret, so no text of an error either.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.errors import ConfigurationError
from shared.settings import TraceSettings, load_settings
from shared.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, SpanKind, Tracer

FIELD = "traceparent"
"""Field of an event and of an outcome, and header of a request: what W3C's Trace Context names."""
FLUSH_MS = 3000


class Traces:
    """Makes the spans of this process."""

    def __init__(self, provider: "TracerProvider") -> None:
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer("wpp-pipeline", VERSION)

    @contextmanager
    def span(
        self,
        name: str,
        *,
        parent: "Context | None" = None,
        kind: "SpanKind | None" = None,
        attributes: Mapping[str, Any] | None = None,
        links: "Sequence[Link]" = (),
    ) -> "Iterator[Span]":
        """Make a span current for the block; of an error, it says the class."""
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

        with self.tracer.start_as_current_span(
            name,
            context=parent,
            kind=kind or SpanKind.INTERNAL,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def flush(self) -> None:
        """Export what has ended, within `FLUSH_MS`: a child of Dramatiq ends without a farewell."""
        self.provider.force_flush(FLUSH_MS)


_traces: Traces | None = None


def start_traces(process: str) -> None:
    """Begin to export the spans of this process, if the settings say so.

    Raises:
        ConfigurationError: they say so, and the packages of `requirements/traces.txt` are missing.
    """
    settings = load_settings(TraceSettings)
    address = settings.otel_exporter_otlp_endpoint
    if address is None or _traces is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        msg = (
            "cannot start: OTEL_EXPORTER_OTLP_ENDPOINT: packages are missing. Install them with "
            "`pip install --require-hashes -r requirements/traces.txt`: see docs/traces.md."
        )
        raise ConfigurationError(msg) from None
    service = os.environ.get("OTEL_SERVICE_NAME") or "wpp-pipeline"
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "wpp.process": process})
    )
    exporter = OTLPSpanExporter(f"{str(address).rstrip('/')}/v1/traces", headers=settings.headers)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    use_traces(Traces(provider))


def use_traces(traces: Traces | None) -> None:
    """Choose where the spans of this process go; None: there are none."""
    global _traces  # noqa: PLW0603 - of the whole process, set at its start
    _traces = traces


def find_traces() -> Traces | None:
    """Return what makes the spans of this process; None where traces are off."""
    return _traces


def read_parent(traceparent: str | None) -> "Context":
    """Return the context that a `traceparent` names; an empty context for none."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    carrier = {FIELD: traceparent} if traceparent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def write_parent(span: "Span") -> str:
    """Return the `traceparent` that names a span."""
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return carrier[FIELD]


def mark_append(item: Any, traceparent: str) -> Any:
    """Return an append (`shared.lanes.types`), its event and outcomes as parts of a trace."""
    body, *rows = (f'{{"{FIELD}":"{traceparent}",{text[1:]}' for text in (item.body, *item.rows))
    outcomes = mark_outcomes(item.outcomes, traceparent)
    return replace(item, body=body, outcomes=outcomes, rows=tuple(rows))


def mark_outcomes(outcomes: Sequence[Any], traceparent: str) -> tuple[Any, ...]:
    return tuple(each.model_copy(update={FIELD: traceparent}) for each in outcomes)

"""Spans of the workers: the wait of an event, its handling, and the write of its outcomes."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from shared.database.models import Applied
from shared.lanes.types import Claim, Settled
from shared.outcomes import SetAside
from shared.traces import FIELD, Traces, mark_append, mark_outcomes, read_parent, write_parent

NAMES = ("organization_id", "integration_id", "account")
"""What a span tells of an event, besides its id."""


class HandledEvent:
    """The spans of a claimed event: of its wait, at its first attempt, and of this attempt."""

    def __init__(self, traces: Traces, event: Any, claim: Claim) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415

        self._traces = traces
        parent = read_parent(getattr(event, FIELD, None))
        about = {f"wpp.{name}": str(value) for name in NAMES if (value := getattr(event, name, 0))}
        about |= {"wpp.id": str(claim.id), "wpp.queue": claim.queue}
        if claim.attempts <= 1:
            waited = traces.tracer.start_span(
                "wait", parent, attributes=about, start_time=claim.accepted_ms * 1_000_000
            )
            waited.end()
            parent = parent if getattr(event, FIELD, None) else set_span_in_context(waited)
        self._stack = ExitStack()
        self._span = self._stack.enter_context(
            traces.span(
                f"handle {claim.queue}",
                parent=parent,
                kind=SpanKind.CONSUMER,
                attributes=about | {"wpp.attempt": claim.attempts},
            )
        )

    def end(self, message: Any) -> None:
        """End the span with how the claim ended; what follows of it belongs to the trace."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        end = message.end
        if isinstance(end, Settled):
            self._span.set_attribute("wpp.state", end.state)
            run = [(claim, self._trace_following(claim, each)) for claim, each in end.run]
            message.conclude_with(replace(_mark(end, self._span), run=run))
        else:
            self._span.set_attribute("wpp.state", "postponed" if end else "interrupted")
        if not isinstance(end, Settled) or end.state in {"failed", "unknown"}:
            self._span.set_status(StatusCode.ERROR)
        self._stack.close()

    def _trace_following(self, claim: Claim, end: Settled) -> Settled:
        """Make a span, in its own trace, of an event that was handled with this event."""
        from opentelemetry.trace import Link  # noqa: PLC0415

        span = self._traces.tracer.start_span(
            f"handle {claim.queue}",
            read_parent(json.loads(claim.body).get(FIELD)),
            attributes={"wpp.id": str(claim.id), "wpp.queue": claim.queue, "wpp.state": end.state},
            links=[Link(self._span.get_span_context())],
        )
        span.end()
        return _mark(end, span)


def _mark(end: Settled, span: Any) -> Settled:
    named = write_parent(span)
    follow = tuple(mark_append(item, named) for item in end.follow)
    return replace(end, outcomes=mark_outcomes(end.outcomes, named), follow=follow)


class TracedOutcomes:
    """Writes outcomes as `Database.outcomes`: a span for the batch, and a span in each trace."""

    def __init__(self, outcomes: Any, traces: Traces) -> None:
        self._outcomes = outcomes
        self._traces = traces

    def apply(self, outcomes: Sequence[dict[str, Any]]) -> Applied:
        from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415

        named = dict.fromkeys(row[FIELD] for row in outcomes if row.get(FIELD))
        parents = [read_parent(each) for each in named]
        links = [Link(get_current_span(each).get_span_context()) for each in parents]
        rows = [{name: value for name, value in row.items() if name != FIELD} for row in outcomes]
        begun_ns = time.time_ns()
        with self._traces.span(
            "record batch", links=links, attributes={"wpp.outcomes": len(rows)}
        ) as batch:
            applied: Applied = self._outcomes.apply(rows)
        for parent in parents:
            self._traces.tracer.start_span(
                "record", parent, links=[Link(batch.get_span_context())], start_time=begun_ns
            ).end()
        return applied

    def put_aside(self, outcomes: Sequence[dict[str, Any]], code: str, why: str) -> list[SetAside]:
        set_aside: list[SetAside] = self._outcomes.put_aside(outcomes, code, why)
        return set_aside

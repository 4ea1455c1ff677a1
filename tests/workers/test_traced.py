"""The spans of a worker: the wait of an event, its handling, and the write of its outcomes."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared import routing
from shared.database.models import Applied
from shared.events import Message, SendEvent
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.traces import Traces, mark_append
from tests.fixtures.provision_env import ProvisionEnv
from workers.traced import HandledEvent, TracedOutcomes

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Traces:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider)


def handle(
    traces: Traces, end: ClaimResult | None, attempts: int = 1, parent: str | None = PARENT
) -> Any:
    """Handle a message as an actor that ends with `end`; return with what its claim ends."""
    item = routing.route_send(uuid4(), uuid4(), Message(to="+79990001122", text="Hello"))
    if parent:
        item = mark_append(item, parent)
    event = SendEvent.model_validate_json(item.body)
    now_ms = int(time.time() * 1000)
    claim = Claim(
        *("send", event.id, item.lane, "1", attempts, now_ms - 500, now_ms + 1000, now_ms),
        *(item.body.encode(), ""),
    )
    message = SimpleNamespace(end=end)
    message.conclude_with = lambda result: setattr(message, "end", result)
    HandledEvent(traces, event, claim).end(message)
    return message.end


def test_wait_and_attempt_are_in_the_trace_of_the_event(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    handle(traces, Settled("sent"))
    wait, attempt = exporter.get_finished_spans()
    for span in (wait, attempt):
        assert span.context
        assert f"{span.context.trace_id:032x}" == TRACE
    assert (wait.name, attempt.name) == ("wait", "handle send")
    assert wait.end_time
    assert wait.start_time
    assert wait.end_time - wait.start_time >= 500_000_000
    assert "79990001122" not in f"{wait.attributes} {attempt.attributes}"
    assert "Hello" not in f"{wait.attributes} {attempt.attributes}"


def test_a_later_attempt_has_no_wait(traces: Traces, exporter: InMemorySpanExporter) -> None:
    handle(traces, Postponed(1, "429"), attempts=2)
    (attempt,) = exporter.get_finished_spans()
    assert dict(attempt.attributes or {})["wpp.state"] == "postponed"
    assert attempt.status.status_code == StatusCode.ERROR


def test_an_event_of_a_process_without_traces_begins_one(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    handle(traces, None, parent=None)
    wait, attempt = exporter.get_finished_spans()
    assert wait.context
    assert attempt.parent
    assert attempt.parent.span_id == wait.context.span_id
    assert dict(attempt.attributes or {})["wpp.state"] == "interrupted"


def test_what_follows_of_an_event_belongs_to_its_trace(traces: Traces) -> None:
    """Its outcomes and its further events name the attempt."""
    follow = routing.route_send(uuid4(), uuid4(), Message(to="+79990001123", text="Then"))
    end = handle(traces, Settled("done", outcomes=follow.outcomes, follow=(follow,)))
    (outcome,), (further,) = end.outcomes, end.follow
    assert outcome.model_dump()["traceparent"].startswith(f"00-{TRACE}-")
    named = SendEvent.model_validate_json(further.body).traceparent
    assert named == outcome.model_dump()["traceparent"]


def test_an_event_that_was_handled_with_another_has_its_own_trace(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    other = "ab" * 16
    item = routing.route_send(uuid4(), uuid4(), Message(to="+79990001123", text="Ack"))
    marked = mark_append(item, f"00-{other}-b7ad6b7169203331-01")
    claim = Claim(*("webhook", item.id, "l", "1", 1, 0, 0, 0), marked.body.encode(), "")
    end = handle(traces, Settled("done", run=[(claim, Settled("done", outcomes=item.outcomes))]))
    ((_, following),) = end.run
    assert following.outcomes[0].model_dump()["traceparent"].startswith(f"00-{other}-")
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["wait", "handle webhook", "handle send"]


class Written:
    """Outcomes that were written."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def apply(self, outcomes: Sequence[dict[str, Any]]) -> Applied:
        self.rows += outcomes
        return Applied(changed=())


def test_a_batch_is_linked_to_each_trace_in_it(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    written = Written()
    rows: list[dict[str, Any]] = [
        {"id": 1, "traceparent": PARENT},
        {"id": 2, "traceparent": PARENT},
        {"id": 3},
    ]
    TracedOutcomes(written, traces).apply(rows)
    batch, record = exporter.get_finished_spans()
    assert written.rows == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [TRACE]
    assert record.context
    assert f"{record.context.trace_id:032x}" == TRACE
    assert batch.context
    assert [link.context.span_id for link in record.links] == [batch.context.span_id]


def test_a_recorder_without_traces_overlooks_the_field(env: ProvisionEnv) -> None:
    """Processes get traces step by step: Supabase takes the row all the same."""
    organization_id = env.create_organization()
    item = routing.route_send(organization_id, uuid4(), Message(to="+79990001122", text="Hello"))
    (outcome,) = mark_append(item, PARENT).outcomes
    with env.worker() as ctx:
        applied = ctx.database.outcomes.apply([outcome.model_dump(mode="json", exclude_none=True)])
        assert not applied.refused
        assert ctx.database.messages.get(item.id, organization_id)

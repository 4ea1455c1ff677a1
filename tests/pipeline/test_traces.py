"""A message is a single trace, from the caller over ingress, wait and platform to the recorder."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from tests.fixtures.collector import CollectedSpan, Collector
from tests.fixtures.system import SHORT_DELAYS, System, connect_integration, run_system
from tests.fixtures.waiting import wait_until

PHONE = "79990005511"
TEXT = "Words between the two of them"
NAMES = {"POST /v1/messages", "accept", "wait", "handle send", "record"}
"""Spans of a message: each process sends its own, when it comes to it."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced_system(open_directory: Path, collector: Collector) -> Iterator[System]:
    """Return a system that sends its spans to the collector soon."""
    settings = {
        **SHORT_DELAYS,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    directory = open_directory / "traces"
    with run_system(directory, settings, "deploy/Procfile.small") as running:
        yield running


@dataclass(frozen=True)
class TracedMessage:
    """A message that a caller's span has sent, and the spans of its trace by name."""

    id: str
    organization_id: UUID
    trace_id: str
    caller: str
    spans: dict[str, CollectedSpan]


@pytest.fixture(scope="module")
def message(traced_system: System, collector: Collector) -> TracedMessage:
    """Return a message that was read, of a number that was connected before."""
    organization_id = traced_system.add_organization()
    connect_integration(traced_system, organization_id)
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    with traced_system.service_client(organization_id) as crm:
        accepted = crm.post(
            "/v1/messages",
            json={"to": PHONE, "text": TEXT},
            headers={"traceparent": f"00-{trace_id}-{caller}-01"},
        ).json()
        path = f"/v1/messages/{accepted['id']}"
        wait_until(lambda: crm.get(path).json()["status"] == "read", "its ack")

    def find() -> dict[str, CollectedSpan] | None:
        spans = {each.name: each for each in collector.spans if each.trace_id == trace_id}
        return spans if spans.keys() >= NAMES else None

    spans = wait_until(find, "the spans of the message")
    return TracedMessage(accepted["id"], organization_id, trace_id, caller, spans)


def test_a_message_is_one_trace(message: TracedMessage, collector: Collector) -> None:
    """It continues the caller's, and tells neither who gets what nor how to get in."""
    spans = message.spans
    request, accept, wait, handle = (
        spans[name] for name in ("POST /v1/messages", "accept", "wait", "handle send")
    )
    assert request.parent_id == message.caller
    assert accept.parent_id == request.span_id
    assert wait.parent_id == handle.parent_id == accept.span_id
    assert wait.ended_ns - wait.begun_ns >= 0
    assert (request.process, handle.process) == ("web", "single")
    calls = [each for name, each in spans.items() if name.startswith("platform POST ")]
    assert calls
    assert {call.parent_id for call in calls} == {handle.span_id}
    assert spans["record"].links
    batches = [each for each in collector.spans if each.name == "record batch"]
    assert any(message.trace_id in each.links for each in batches)
    assert handle.attributes["wpp.id"] == message.id
    assert handle.attributes["wpp.organization_id"] == str(message.organization_id)
    assert handle.attributes["wpp.state"] == "sent"


@pytest.mark.usefixtures("message")
def test_spans_hold_no_secret_no_text_and_no_phone(
    traced_system: System, collector: Collector
) -> None:
    """Nor do those of the connect and of the webhooks before."""
    wait_until(
        lambda: {"handle webhook", "handle provision"} <= {each.name for each in collector.spans},
        "the spans of connect and webhooks",
    )
    told = "\n".join(f"{each.name} {each.attributes}" for each in collector.spans)
    environment = traced_system.environment
    for secret in (
        PHONE,
        TEXT,
        environment["WPP_SECRET"],
        environment["WPP_KEY_SECRETS"],
        "wpk_",
        "eyJ",
        "/webhooks/wpp/",
    ):
        assert secret not in told

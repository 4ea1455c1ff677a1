"""The round trips to Redis of an event: all processes share the server."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis.connection import Connection

from shared import routing
from shared.events import Message, SendEvent, WebhookEvent
from shared.lanes.records import find_record
from tests.draining import drain, parse_first
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline
from workers.send import handler as send
from workers.webhook import handler as webhook

__all__ = ["pipeline"]

EVENTS = 100
AT_MOST = 2
"""Round trips an event."""


class Count:
    trips = 0


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[Count]:
    """Count what this process sends to Redis: a pipeline is one."""
    counted = Count()
    sends: Any = Connection.send_packed_command

    def send_and_count(self: Connection, command: Any, check_health: bool = True) -> Any:  # noqa: FBT001, FBT002
        counted.trips += 1
        return sends(self, command, check_health)

    monkeypatch.setattr(Connection, "send_packed_command", send_and_count)
    yield counted
    monkeypatch.undo()


def test_a_send_takes_two_round_trips_at_most(pipeline: InboundPipeline, count: Count) -> None:
    """With its token and its route known, all of the breaker's and the lanes' commands counted."""
    pipeline.ctx.as_account(pipeline.account).start()
    pipeline.env.scan_qr(pipeline.account)

    def accept(number: int) -> Any:
        message = Message(to=f"+7999000{number % 25:04}", text=f"Hello {number}")
        return pipeline.ctx.lanes.append(
            routing.route_send(pipeline.organization, pipeline.integration, message)
        ).id

    def work() -> None:
        drain(
            pipeline.ctx.lanes,
            "send",
            lambda claim: parse_first(SendEvent, send.handle_send)(claim, pipeline.ctx),
            parse_first(SendEvent, send.dead_letter_send),
        )

    accept(0)
    work()
    ids = [accept(number) for number in range(EVENTS)]
    count.trips = 0
    work()
    trips = count.trips
    assert {record.state for each in ids if (record := find_record(pipeline.redis, each))} == {
        "sent"
    }
    assert trips <= AT_MOST * EVENTS


def test_a_webhook_takes_two_round_trips_at_most(pipeline: InboundPipeline, count: Count) -> None:
    bodies = [
        {
            "from": f"+7999000{number % 25:04}",
            "type": "chat",
            "text": f"Hello {number}",
            "messageId": f"M{number}",
        }
        for number in range(EVENTS)
    ]
    pipeline.post(*bodies)
    count.trips = 0
    drain(
        pipeline.ctx.lanes,
        "webhook",
        lambda claim: parse_first(WebhookEvent, webhook.handle_webhook)(claim, pipeline.ctx),
        parse_first(WebhookEvent, webhook.dead_letter_webhook),
    )
    trips = count.trips
    pipeline.record()
    assert len(pipeline.messages()) == EVENTS
    assert trips <= AT_MOST * EVENTS

"""Messages of unknown delivery settle where the platform's reports prove them."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import structlog

from shared import routing
from shared.events import Message, SendEvent, utc_now
from shared.lanes.records import find_record
from shared.lanes.types import Claim, ClaimSequence, Settled
from tests.draining import parse_first
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.clock.settling import ECHO_WAIT, Settler, run_settling
from workers.send import in_doubt

__all__ = ["pipeline"]

OTHER = "79990003344"


def begin(pipeline: InboundPipeline, to: str = PEER, text: str = "Perhaps") -> Claim:
    """Enqueue a message and claim it, as a worker does before it calls the platform."""
    item = routing.route_send(
        pipeline.organization, pipeline.integration, Message(to=to, text=text)
    )
    pipeline.ctx.lanes.append(item)
    claim = pipeline.ctx.lanes.claim("send", ClaimSequence())
    assert claim
    return claim


def lose_reply(pipeline: InboundPipeline, claim: Claim) -> UUID:
    """End a message as unknown; return its id."""
    settle = parse_first(SendEvent, in_doubt.settle_as_unknown)
    pipeline.ctx.lanes.conclude(claim, settle(claim, "its reply was lost", None))
    return claim.id


def end_as_sent(pipeline: InboundPipeline, claim: Claim, task_id: str) -> None:
    """End a message with the platform's reply."""
    event = SendEvent.model_validate_json(claim.body)
    outcome = routing.build_message_outcome(event, "sent", utc_now(), task_id=task_id)
    pipeline.ctx.lanes.conclude(claim, Settled("sent", [outcome], {"task_id": task_id}))


def report(pipeline: InboundPipeline, status: str, **ids: str) -> None:
    """Let the platform report a status."""
    pipeline.post({"type": "message.status", "data": {"status": status, **ids}})
    pipeline.settle()


def wa_id(peer: str, key: str = "3EB0AA11") -> str:
    return f"true_{peer}@c.us_{key}"


@pytest.fixture
def settler(pipeline: InboundPipeline) -> Settler:
    return Settler(pipeline.ctx)


def run_rounds(pipeline: InboundPipeline, settler: Settler, later: float = 0) -> int:
    """Run two rounds, the second confirms the first; return how many messages were settled."""
    now = utc_now() + timedelta(seconds=later)
    pipeline.record()
    count = settler.run_round(now) + settler.run_round(now)
    pipeline.record()
    return count


def states(pipeline: InboundPipeline, *ids: UUID) -> list[tuple[str, str]]:
    """Return the state of each record and the status of its row."""
    rows = {row["id"]: row["message_status"] for row in pipeline.messages()}
    records = [find_record(pipeline.redis, each) for each in ids]
    return [(record.state, rows[record.id]) for record in records if record]


def test_a_report_that_names_the_person_settles_the_message_with_its_ids(
    pipeline: InboundPipeline, settler: Settler
) -> None:
    """Its status is the furthest that was reported; later reports find it by its ids."""
    message = lose_reply(pipeline, begin(pipeline))
    lose_reply(pipeline, begin(pipeline, OTHER))
    report(pipeline, "sent", taskId="T1", waMessageId=wa_id(PEER))
    report(pipeline, "delivered", messageId="T1")
    assert run_rounds(pipeline, settler) == 1
    assert states(pipeline, message) == [("sent", "delivered")]
    report(pipeline, "read", messageId=wa_id(PEER))
    assert states(pipeline, message) == [("sent", "read")]
    (row,) = pipeline.messages(id=message)
    assert row["external_message_id"] == "T1"
    assert row["metadata"]["waMessageId"] == wa_id(PEER)
    assert run_rounds(pipeline, settler) == 0


def test_the_only_orphan_of_a_number_settles_its_only_unknown_message(
    pipeline: InboundPipeline, settler: Settler
) -> None:
    message = lose_reply(pipeline, begin(pipeline))
    report(pipeline, "sent", taskId="T1")
    assert run_rounds(pipeline, settler) == 1
    assert states(pipeline, message) == [("sent", "sent")]


def test_two_candidates_stay_unknown(pipeline: InboundPipeline, settler: Settler) -> None:
    first, second = (lose_reply(pipeline, begin(pipeline)) for _ in range(2))
    report(pipeline, "sent", taskId="T1", waMessageId=wa_id(PEER))
    assert run_rounds(pipeline, settler) == 0
    assert states(pipeline, first, second) == [("unknown", "unknown")] * 2


def test_a_message_in_work_is_a_candidate_until_its_reply_comes(
    pipeline: InboundPipeline, settler: Settler
) -> None:
    """The platform's webhook may be faster than its reply."""
    unknown = lose_reply(pipeline, begin(pipeline))
    claim = begin(pipeline)
    report(pipeline, "sent", taskId="T2", waMessageId=wa_id(PEER))
    assert run_rounds(pipeline, settler) == 0
    end_as_sent(pipeline, claim, "T2")
    assert run_rounds(pipeline, settler) == 0, "the report was the other message's"
    assert states(pipeline, unknown) == [("unknown", "unknown")]


def test_a_proof_waits_for_what_is_in_the_outbox(
    pipeline: InboundPipeline, settler: Settler
) -> None:
    """A message with its row on the way may be what the report is about."""
    unknown = lose_reply(pipeline, begin(pipeline))
    report(pipeline, "sent", taskId="T2", waMessageId=wa_id(PEER))
    claim = begin(pipeline)
    for _ in range(3):
        assert settler.run_round(utc_now()) == 0, "its outcome is still in the outbox"
    end_as_sent(pipeline, claim, "T3")
    assert run_rounds(pipeline, settler) == 1, "the report was not the other message's"
    assert states(pipeline, unknown, claim.id) == [("sent", "sent")] * 2


def test_a_report_without_a_task_id_waits_for_the_echo_of_the_phone(
    pipeline: InboundPipeline, settler: Settler
) -> None:
    """It may be about a message that was typed on the phone."""
    message = lose_reply(pipeline, begin(pipeline))
    report(pipeline, "delivered", messageId=wa_id(PEER))
    assert run_rounds(pipeline, settler) == 0
    assert run_rounds(pipeline, settler, ECHO_WAIT.total_seconds() + 1) == 1
    assert states(pipeline, message) == [("sent", "delivered")]


def test_a_report_of_what_was_typed_on_the_phone_proves_nothing(
    pipeline: InboundPipeline, settler: Settler
) -> None:
    message = lose_reply(pipeline, begin(pipeline))
    report(pipeline, "delivered", messageId=wa_id(PEER))
    pipeline.post(
        {
            "type": "chat",
            "from": f"+{PEER}",
            "fromMe": True,
            "text": "By hand",
            "messageId": wa_id(PEER),
        }
    )
    pipeline.settle()
    assert run_rounds(pipeline, settler, ECHO_WAIT.total_seconds() + 1) == 0
    assert states(pipeline, message) == [("unknown", "unknown")]


@pytest.fixture
def running(pipeline: InboundPipeline) -> Iterator[Any]:
    """Run the clock's thread with short pauses."""
    stopping = threading.Event()
    thread = threading.Thread(target=run_settling, args=(pipeline.ctx, stopping, 0.01))
    thread.start()
    yield thread
    stopping.set()
    thread.join(10)


def test_the_clock_settles_round_after_round(
    pipeline: InboundPipeline, running: threading.Thread
) -> None:
    message = lose_reply(pipeline, begin(pipeline))
    report(pipeline, "sent", taskId="T1")
    with structlog.testing.capture_logs():
        while states(pipeline, message) != [("sent", "sent")]:
            pipeline.record()
    assert running.is_alive()

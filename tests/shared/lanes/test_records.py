"""Records: the state of an event, for any reader."""

from datetime import UTC, datetime
from uuid import uuid4

from shared.lanes import records
from shared.lanes.types import Postponed, Settled
from tests.shared.lanes.harness import Bench


def test_an_event_nobody_knows_has_no_record(bench: Bench) -> None:
    assert records.find_record(bench.client, uuid4()) is None


def test_a_queued_event_is_there_with_its_content(bench: Bench) -> None:
    before = datetime.now(UTC)
    item = bench.item("x", "hello", tenant="one")
    bench.lanes.append(item)
    found = records.find_record(bench.client, item.id)
    assert found
    assert (found.id, found.state, found.queue, found.tenant, found.lane) == (
        item.id,
        "queued",
        "send",
        "one",
        "x",
    )
    assert (found.attempts, found.settled, found.reason, found.task_id) == (0, None, None, None)
    assert abs((found.accepted - before).total_seconds()) < 2
    assert found.body
    assert bench.told(found.body) == "hello"


def test_a_postponed_event_says_why_and_how_often(bench: Bench) -> None:
    event_id = bench.append("x")
    bench.lanes.conclude(bench.claim(), Postponed(60, "429: слишком много"))
    found = records.find_record(bench.client, event_id)
    assert found
    assert (found.state, found.attempts, found.reason) == ("queued", 1, "429: слишком много")


def test_a_settled_event_says_how_and_when_it_ended(bench: Bench) -> None:
    event_id = bench.append("x")
    bench.lanes.conclude(bench.claim(), Settled("sent", fields={"task_id": "queue-1"}))
    found = records.find_record(bench.client, event_id)
    assert found
    assert (found.state, found.task_id, found.body) == ("sent", "queue-1", None)
    assert found.settled
    assert found.settled >= found.accepted


def test_an_event_that_goes_out_once_more_is_not_settled(bench: Bench) -> None:
    """An unknown event keeps its content until it is settled."""
    event_id = bench.append("x", "hello")
    bench.conclude(bench.claim(), "unknown")
    unknown = records.find_record(bench.client, event_id)
    assert unknown
    assert unknown.settled
    assert unknown.body
    bench.lanes.resolve(event_id, Settled("queued"))
    found = records.find_record(bench.client, event_id)
    assert found
    assert (found.state, found.settled) == ("queued", None)


def test_records_can_be_read_in_one_pipeline(bench: Bench) -> None:
    """Callers that have many ids, or another client, ask Redis themselves."""
    ids = [bench.append("x"), uuid4()]
    pipe = bench.client.pipeline(transaction=False)
    for event_id in ids:
        pipe.hmget(records.record_key(event_id), records.FIELDS)
    first, second = (
        records.parse_record(event_id, reply)
        for event_id, reply in zip(ids, pipe.execute(), strict=True)
    )
    assert first
    assert (first.state, second) == ("queued", None)

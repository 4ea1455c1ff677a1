"""Records: the state of an event, for any reader."""

from datetime import UTC, datetime
from uuid import uuid4

from shared.lanes import records
from shared.lanes.types import Postponed, Settled
from tests.shared.lanes.harness import LaneHarness


def test_an_event_nobody_knows_has_no_record(harness: LaneHarness) -> None:
    assert records.find_record(harness.client, uuid4()) is None


def test_a_queued_event_is_there_with_its_content(harness: LaneHarness) -> None:
    before = datetime.now(UTC)
    item = harness.item("x", "hello", tenant="one")
    harness.lanes.append(item)
    found = records.find_record(harness.client, item.id)
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
    assert harness.told(found.body) == "hello"


def test_a_postponed_event_says_why_and_how_often(harness: LaneHarness) -> None:
    event_id = harness.append("x")
    harness.lanes.conclude(harness.claim(), Postponed(60, "429: слишком много"))
    found = records.find_record(harness.client, event_id)
    assert found
    assert (found.state, found.attempts, found.reason) == ("queued", 1, "429: слишком много")


def test_an_event_in_work_says_since_when(harness: LaneHarness) -> None:
    """Until it is settled, or its effect is unknown."""
    first, second = harness.append("x"), harness.append("y")
    claims = [harness.claim() for _ in range(2)]
    for event_id in (first, second):
        found = records.find_record(harness.client, event_id)
        assert found
        assert found.claimed
        assert found.claimed >= found.accepted
    for claim in claims:
        harness.conclude(claim, "unknown" if claim.id == first else "sent")
    found_records = records.find_records(harness.client, [first, second, uuid4()])
    assert set(found_records) == {first, second}
    assert [found_records[each].claimed is not None for each in (first, second)] == [True, False]
    assert found_records[first].resends == 0


def test_a_settled_event_says_how_and_when_it_ended(harness: LaneHarness) -> None:
    event_id = harness.append("x")
    harness.lanes.conclude(harness.claim(), Settled("sent", fields={"task_id": "queue-1"}))
    found = records.find_record(harness.client, event_id)
    assert found
    assert (found.state, found.task_id, found.body) == ("sent", "queue-1", None)
    assert found.settled
    assert found.settled >= found.accepted


def test_an_event_that_goes_out_once_more_is_not_settled(harness: LaneHarness) -> None:
    """An unknown event keeps its content until it is settled."""
    event_id = harness.append("x", "hello")
    harness.conclude(harness.claim(), "unknown")
    unknown = records.find_record(harness.client, event_id)
    assert unknown
    assert unknown.settled
    assert unknown.body
    harness.lanes.resolve(event_id, Settled("queued"))
    found = records.find_record(harness.client, event_id)
    assert found
    assert (found.state, found.settled) == ("queued", None)


def test_records_can_be_read_in_one_pipeline(harness: LaneHarness) -> None:
    """Callers that have many ids, or another client, ask Redis themselves."""
    ids = [harness.append("x"), uuid4()]
    pipe = harness.client.pipeline(transaction=False)
    for event_id in ids:
        pipe.hmget(records.record_key(event_id), records.FIELDS)
    first, second = (
        records.parse_record(event_id, reply)
        for event_id, reply in zip(ids, pipe.execute(), strict=True)
    )
    assert first
    assert (first.state, second) == ("queued", None)

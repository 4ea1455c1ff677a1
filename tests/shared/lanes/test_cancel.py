"""Cancel an event that waits: a cancellation and a claim exclude each other."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.events import utc_now
from shared.lanes.types import ClaimSequence, Postponed, Settled
from shared.redis import keys
from tests.shared.lanes.harness import LaneHarness, outcome

CANCELLED = Settled("cancelled", [outcome("cancelled")], {"reason": "cancelled on request"})


def cancel(harness: LaneHarness, event_id: object, tenant: str = "one") -> str:
    return harness.lanes.cancel(event_id, "send", tenant, CANCELLED)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["ready", "behind", "delayed", "gated", "scheduled"])
def test_an_event_that_waits_is_cancelled_once(harness: LaneHarness, place: str) -> None:
    """Wherever it waits; its lane goes on, it is counted no more, and its key is answered."""
    at = utc_now() + timedelta(days=1) if place == "scheduled" else None
    first = harness.append("lane", "first", gates=("g",))
    item = harness.item("lane", "cancelled", gates=("g",), send_at=at)
    event_id = harness.lanes.append(item).id if place == "behind" or at else first
    if place == "delayed":
        harness.lanes.conclude(harness.claim(), Postponed(3600, "paced"))
    elif place == "gated":
        harness.lanes.close_gate("g", 60, "closed")
        assert harness.nothing_ready()
    assert [cancel(harness, event_id) for _ in range(2)] == ["ok", "same"]
    assert harness.state(event_id) == "cancelled"
    assert harness.outbox() == ["cancelled"]
    harness.append("lane", "next")
    harness.lanes.open_gate("g")
    claims = []
    for claim in harness.claims():
        claims.append(claim.id)
        harness.conclude(claim)
    assert event_id not in claims
    assert len(claims) == (1 if event_id == first else 2)
    left = (keys.waiting, keys.waiting_bytes, keys.delayed, keys.scheduled)
    assert not harness.client.exists(*(key("send") for key in left))
    assert not harness.client.exists(keys.lane("lane"), keys.lane_state("lane"))
    assert 0 < harness.client.ttl(keys.event(event_id)) <= 8 * 86_400


def test_the_head_of_a_paced_lane_frees_it(harness: LaneHarness) -> None:
    """The event behind does not wait for the slot of the cancelled event."""
    head = harness.append("lane")
    behind = harness.append("lane", gates=())
    harness.lanes.conclude(harness.claim(), Postponed(3600, "paced"))
    assert harness.nothing_ready()
    bells = harness.bell()
    assert cancel(harness, head) == "ok"
    assert harness.bell() > bells
    assert harness.claim().id == behind


def test_what_has_begun_or_ended_stays_as_it_is(harness: LaneHarness) -> None:
    event_id = harness.append("lane")
    claim = harness.claim()
    assert cancel(harness, event_id) == "claimed"
    harness.conclude(claim)
    assert cancel(harness, event_id) == "sent"
    assert harness.outbox() == []
    assert cancel(harness, uuid4()) == "missing"


def test_another_tenant_cancels_nothing(harness: LaneHarness) -> None:
    event_id = harness.append("lane")
    assert cancel(harness, event_id, "two") == "missing"
    assert harness.claim().id == event_id


def test_what_may_have_gone_out_is_not_cancelled(harness: LaneHarness) -> None:
    """It was unknown, and is sent once more: its end must not say that it was never sent."""
    event_id = harness.append("lane")
    harness.conclude(harness.claim(), "unknown")
    assert harness.lanes.resolve(event_id, Settled("queued"))
    assert cancel(harness, event_id) == "resent"


def test_what_has_gone_out_in_part_is_not_cancelled(harness: LaneHarness) -> None:
    """Its file is with the recipient, its caption follows."""
    event_id = harness.append("lane")
    begun = Postponed(60, "its text follows", fields={"file_task": "t1"})
    harness.lanes.conclude(harness.claim(), begun)
    assert cancel(harness, event_id) == "begun"


def test_a_cancelled_code_no_longer_lifts_its_lane(harness: LaneHarness) -> None:
    harness.append("lane", "campaign", level="low")
    claim = harness.claim()
    code = harness.append("lane", "code", level="high")
    harness.append("other")
    assert cancel(harness, code) == "ok"
    harness.lanes.conclude(claim, Postponed(0, "not now"))
    assert harness.claim().lane == "other"


def test_a_late_result_does_not_bring_it_back(harness: LaneHarness) -> None:
    event_id = harness.append("lane")
    claim = harness.claim()
    harness.lanes.conclude(claim, Postponed(0, "not now"))
    assert cancel(harness, event_id) == "ok"
    assert not harness.conclude(claim, "sent")
    assert harness.state(event_id) == "cancelled"


def test_either_a_claim_or_a_cancellation_succeeds(harness: LaneHarness) -> None:
    """They race for each of these events."""
    ids = [harness.append(f"lane{number}") for number in range(150)]
    answers: dict[object, str] = {}
    claimed = set()

    def cancel_all() -> None:
        for event_id in reversed(ids):
            answers[event_id] = cancel(harness, event_id)

    canceller = threading.Thread(target=cancel_all)
    canceller.start()
    sequence = ClaimSequence()
    while canceller.is_alive() or harness.client.exists(keys.waiting("send")):
        if claim := harness.lanes.claim("send", sequence):
            claimed.add(claim.id)
            harness.conclude(claim)
    canceller.join()
    cancelled = {event_id for event_id, answer in answers.items() if answer == "ok"}
    assert claimed | cancelled == set(ids)
    assert not claimed & cancelled

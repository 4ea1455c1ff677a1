"""Scheduled events: they stand in no lane until they are due."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.errors import OverloadedError
from shared.events import utc_now
from shared.lanes.records import find_record
from shared.lanes.repair import repair
from shared.redis import keys
from shared.settings import EngineSettings
from tests.shared.lanes.harness import LaneHarness

WEEKS = timedelta(weeks=40)


def schedule(harness: LaneHarness, lane: str, told: object = "", **more: Any) -> UUID:
    at: datetime = more.pop("at", None) or utc_now() + WEEKS
    return harness.append(lane, told, send_at=at, **more)


def pass_time(harness: LaneHarness, passed: timedelta = WEEKS) -> None:
    """Let the dates of the schedule come nearer, as Redis' clock does not move."""
    key = keys.scheduled("send")
    for entry, at in harness.client.zrange(key, 0, -1, withscores=True):
        harness.client.zadd(key, {entry: at - passed.total_seconds() * 1000 - 1000})


def told(harness: LaneHarness) -> list[Any]:
    """Work off what is ready; return what the events tell."""
    found = []
    for claim in harness.claims():
        found.append(harness.told(claim.body))
        harness.conclude(claim)
    return found


def test_a_scheduled_event_holds_no_conversation_and_enters_it_last(harness: LaneHarness) -> None:
    event_id = schedule(harness, "lane", "later")
    harness.append("lane", "now")
    assert harness.state(event_id) == "scheduled"
    claim = harness.claim()
    assert harness.told(claim.body) == "now"
    harness.append("lane", "meanwhile")
    pass_time(harness)
    harness.lanes.sweep("send")
    assert harness.state(event_id) == "queued"
    harness.conclude(claim)
    assert told(harness) == ["meanwhile", "later"]
    assert not harness.client.exists(keys.scheduled("send"))


def test_it_is_due_once_its_date_has_come(harness: LaneHarness) -> None:
    """A sweep names the time until then, and a bell rings when it has come."""
    schedule(harness, "lane", at=utc_now() + timedelta(seconds=30))
    due_ms = harness.lanes.sweep("send").next_due_ms
    assert due_ms
    assert 25_000 < due_ms <= 30_000
    assert (harness.bell(), harness.nothing_ready()) == (0, True)
    pass_time(harness, timedelta(seconds=30))
    assert harness.lanes.sweep("send").ready == 1
    assert harness.bell() == 1


def test_a_date_that_has_passed_is_now(harness: LaneHarness) -> None:
    """So a request that is repeated later needs no other date."""
    item = harness.item("lane", send_at=utc_now() - timedelta(days=3))
    assert harness.lanes.append(item).state == "queued"
    assert harness.claim().id == item.id


def test_a_repeated_request_is_answered_with_its_state(harness: LaneHarness) -> None:
    item = harness.item("lane", send_at=utc_now() + WEEKS)
    assert [
        (answer.new, answer.state) for answer in (harness.lanes.append(item) for _ in range(2))
    ] == [(True, "scheduled"), (False, "scheduled")]


@pytest.mark.parametrize("fast", ["redis", "sweeper"])
def test_a_clock_that_is_fast_sends_nothing_too_early(harness: LaneHarness, fast: str) -> None:
    """Both must say that the date has come: what was sent too early cannot be taken back."""
    schedule(harness, "lane", at=utc_now() + timedelta(days=1))
    if fast == "redis":
        pass_time(harness, timedelta(days=1))
        harness.lanes.wall = lambda: utc_now().timestamp() - 86_400
    else:
        harness.lanes.wall = lambda: utc_now().timestamp() + 86_400 * 2
    harness.lanes.sweep("send")
    assert harness.nothing_ready()


@pytest.mark.parametrize("hours", [-2, 2])
def test_the_clock_of_the_lanes_moves_no_date(harness: LaneHarness, hours: int) -> None:
    """It may stand still while no process calls; a date does not."""
    schedule(harness, "lane", at=utc_now() + timedelta(hours=1))
    harness.step_clock(hours * 3_600_000)
    assert harness.lanes.sweep("send").next_due_ms == pytest.approx(3_600_000, abs=10_000)


def test_events_of_the_same_moment_keep_their_order(harness: LaneHarness) -> None:
    """A conversation's messages for nine o'clock go out as they were accepted."""
    at = utc_now() + WEEKS
    for number in range(120):
        schedule(harness, "lane", number, at=at)
    pass_time(harness)
    slices = [harness.lanes.sweep("send").next_due_ms for _ in range(3)]
    assert slices == [0, 0, None], "fifty at a time"
    assert told(harness) == list(range(120))


def test_it_waits_and_expires_from_its_date_on(harness: LaneHarness) -> None:
    event_id = schedule(harness, "lane", max_age_s=60)
    pass_time(harness)
    harness.lanes.sweep("send")
    claim = harness.claim()
    record = find_record(harness.client, event_id)
    assert record
    assert record.send_at
    assert (claim.expires_ms - claim.accepted_ms) == 60_000
    assert claim.accepted_ms == int(record.send_at.timestamp() * 1000)
    assert record.send_at - record.accepted > WEEKS - timedelta(minutes=1)
    harness.conclude(claim)
    settled = find_record(harness.client, event_id)
    assert settled
    assert (settled.state, settled.send_at) == ("sent", record.send_at)


def test_it_counts_as_waiting(harness: LaneHarness) -> None:
    """A schedule is no way around the limits of a tenant."""
    harness.lanes.settings = EngineSettings(wpp_waiting_limit=2)
    schedule(harness, "lane")
    schedule(harness, "lane")
    with pytest.raises(OverloadedError):
        schedule(harness, "lane")
    assert harness.client.hgetall(keys.waiting("send")) == {b"one": b"2"}


def test_it_enters_its_lane_with_its_level(harness: LaneHarness) -> None:
    schedule(harness, "code", "code", level="high")
    for number in range(5):
        harness.append(f"lane{number}", number)
    pass_time(harness)
    harness.lanes.sweep("send")
    assert told(harness)[0] == "code"


def test_a_missing_schedule_is_put_back(harness: LaneHarness) -> None:
    event_id = schedule(harness, "lane")
    at = harness.client.zrange(keys.scheduled("send"), 0, -1, withscores=True)
    assert repair(harness.lanes) == 0
    harness.client.delete(keys.scheduled("send"))
    assert repair(harness.lanes) == 1
    assert harness.client.zrange(keys.scheduled("send"), 0, -1, withscores=True) == at
    assert harness.state(event_id) == "scheduled"


def test_a_missing_record_is_told(harness: LaneHarness) -> None:
    """Its place in the schedule tells its tenant and its lane."""
    event_id = schedule(harness, "lane")
    harness.client.delete(keys.event(event_id))
    pass_time(harness)
    [lost] = harness.lanes.sweep("send").lost
    assert (lost.id, lost.lane, lost.tenant, lost.why) == (
        event_id,
        "lane",
        "one",
        "record missing",
    )
    assert not harness.client.exists(keys.waiting("send"), keys.scheduled("send"))


def test_a_failed_event_is_replayed_at_its_date(harness: LaneHarness) -> None:
    """Its dead letter was replayed before."""
    item = harness.item("lane", send_at=utc_now() + WEEKS)
    harness.lanes.append(item)
    pass_time(harness)
    harness.lanes.sweep("send")
    harness.conclude(harness.claim(), "failed")
    assert harness.lanes.replay(item)
    assert harness.state(item.id) == "scheduled"
    assert harness.nothing_ready()

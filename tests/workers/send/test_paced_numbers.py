"""The numbers with messages that wait their turn are listed until the last turn has passed."""

from datetime import UTC, datetime

import pytest
import redis

from shared import routing
from shared.events import Message
from shared.lanes.types import ClaimSequence, Postponed
from shared.pacing import Pacing, PacingChange
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, handle
from tests.workers.send.test_pacing import Number, advance, message_to
from workers.send.paced_numbers import (
    USED_UP,
    WarmUpDay,
    budgets_left,
    find_waiting,
    find_warm_up_day,
    list_paced,
    release,
    remove_idle,
)


def test_a_paced_number_is_listed_until_its_last_turn(redis_client: redis.Redis) -> None:
    """It is removed once, so that the end of its pacing is told once."""
    number = Number(redis_client, per_minute=1, burst=1, jitter=0)
    number.know(*range(4))
    for each in range(4):
        number.wait(message_to(each))
    (paced,) = list_paced(redis_client)
    assert (paced.integration_id, paced.waiting) == (INTEGRATION, 3)
    assert 170 <= paced.last_turn_s <= 190
    assert remove_idle(redis_client) == []
    advance(redis_client, 200)
    assert list_paced(redis_client) == []
    assert remove_idle(redis_client) == [INTEGRATION]
    assert remove_idle(redis_client) == []


def test_what_is_left_of_budgets(redis_client: redis.Redis) -> None:
    number = Number(redis_client, datetime.now(UTC), warm_up=[2])
    assert budgets_left(redis_client) == {}
    number.take(message_to(1))
    assert budgets_left(redis_client) == {INTEGRATION: 1}
    number.take(message_to(2))
    assert budgets_left(redis_client) == {INTEGRATION: 0}
    number.take(message_to(3))
    assert budgets_left(redis_client) == {INTEGRATION: USED_UP}


@pytest.mark.parametrize(
    ("began", "now", "expected"),
    [
        ("2026-11-21 05:59", "2026-11-21 06:00", WarmUpDay(2, 40)),
        ("2026-11-21 06:00", "2026-11-22 05:59", WarmUpDay(1, 20)),
        ("2026-11-21 06:00", "2026-11-22 06:00", WarmUpDay(2, 40)),
        ("2026-11-21 06:00", "2026-11-23 06:00", None),
        ("2026-11-22 06:00", "2026-11-20 06:00", WarmUpDay(1, 20)),
        (None, "2026-11-21 06:00", None),
    ],
)
def test_a_day_of_a_warm_up_begins_at_its_hour(
    began: str | None, now: str, expected: WarmUpDay | None
) -> None:
    """A clock that was ahead when the number was connected begins it once."""
    at = datetime.fromisoformat(f"{began}+00:00") if began else None
    day = find_warm_up_day(Pacing(warm_up=(20, 40)), at, datetime.fromisoformat(f"{now}+00:00"), 6)
    assert day == expected


def test_released_messages_take_their_turn_by_the_new_settings(redis_client: redis.Redis) -> None:
    """What waited for hours, or for tomorrow, goes out at once when the limit is gone."""
    number = Number(redis_client, datetime.now(UTC), per_minute=0.1, burst=2, warm_up=[4])
    lanes, slot = number.ctx.lanes, ClaimSequence()
    for each in range(6):
        message = Message(to=f"+7999000{each:04d}", text="Hello")
        lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, message))

    def work() -> None:
        while claim := lanes.claim("send", slot):
            lanes.conclude(claim, handle(claim, number.ctx))

    work()
    (waiting,) = find_waiting(redis_client, [INTEGRATION])
    assert (waiting.waiting, waiting.for_tomorrow) == (3, 2)
    assert len(number.ctx.deadlines_s) == 1
    number.ctx.route = number.route.model_copy(update={"pacing": PacingChange()})
    assert release(redis_client, [INTEGRATION]) == 5
    lanes.sweep("send")
    assert lanes.claim("send", slot) is None, "other processes know the old settings for 10 s"
    advance(redis_client, 12)
    lanes.sweep("send")
    work()
    assert len(number.ctx.deadlines_s) == 6


def test_a_release_ends_no_work_and_prolongs_no_wait(redis_client: redis.Redis) -> None:
    """A lane that is claimed, or due earlier, stays as it is."""
    number = Number(redis_client, per_minute=0.1, burst=1)
    lanes = number.ctx.lanes
    for each in range(3):
        message = Message(to=f"+7999000{each:04d}", text="Hello")
        lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, message))
    slot = ClaimSequence()
    claims = [claim for _ in range(3) if (claim := lanes.claim("send", slot))]
    for claim in claims:
        handle(claim, number.ctx)
    lanes.conclude(claims[1], Postponed(1, "soon"))
    release(redis_client, [INTEGRATION])
    advance(redis_client, 2)
    lanes.sweep("send")
    again = lanes.claim("send", slot)
    assert again
    assert again.id == claims[1].id
    assert lanes.extend(claims[2])

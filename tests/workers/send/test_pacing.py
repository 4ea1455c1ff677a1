"""Pacing spreads the messages of an integration over time."""

import time
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
import redis

from shared import routing
from shared.events import Message, SendEvent
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence, Postponed
from shared.settings import EngineSettings
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, FakeContext, handle
from workers.send import pacing

PACE_S = 10.0


def build_message(integration_id: UUID = INTEGRATION, to: str = "79990001122") -> SendEvent:
    return SendEvent(
        id=uuid4(), organization_id=ORGANIZATION, integration_id=integration_id, to=to, text="Hello"
    )


def test_each_message_takes_the_next_slot_of_its_integration(redis_client: redis.Redis) -> None:
    """Slots are 0.5 to 1.5 paces apart; another integration has slots of its own."""
    waits = [pacing.take_slot(redis_client, build_message(), PACE_S) for _ in range(20)]
    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert waits[0] == 0
    assert all(PACE_S / 2 - 0.1 <= gap <= PACE_S * 1.5 + 0.1 for gap in gaps)
    assert len({round(gap, 1) for gap in gaps}) > 5, "the gaps are all alike"
    assert pacing.take_slot(redis_client, build_message(uuid4()), PACE_S) == 0


def test_a_message_keeps_its_slot(redis_client: redis.Redis) -> None:
    """A later claim of the same message moves no slot."""
    first = build_message()
    second = build_message()
    pacing.take_slot(redis_client, first, PACE_S)
    wait_s = pacing.take_slot(redis_client, second, PACE_S)
    time.sleep(0.05)
    assert wait_s - 0.5 < pacing.take_slot(redis_client, second, PACE_S) < wait_s
    third_s = pacing.take_slot(redis_client, build_message(), PACE_S)
    assert wait_s + PACE_S / 2 - 0.5 <= third_s <= wait_s + PACE_S * 1.5


def test_a_message_that_misses_its_slot_takes_another(redis_client: redis.Redis) -> None:
    """After an outage, a backlog does not leave all at once."""
    late = [build_message() for _ in range(3)]
    for event in late:
        pacing.take_slot(redis_client, event, 0.01, grace_s=0.05)
    time.sleep(0.15)
    waits = [pacing.take_slot(redis_client, event, PACE_S) for event in late]
    assert waits[0] == 0
    assert waits[1] >= PACE_S / 2 - 0.1
    assert waits[2] >= PACE_S - 0.2


def send_for_half_a_second(ctx: FakeContext, slot: ClaimSequence) -> int:
    """Handle messages as they become ready; return the number of calls to the platform."""
    before = len(ctx.deadlines_s)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        ctx.lanes.sweep("send")
        while claim := ctx.lanes.claim("send", slot):
            ctx.lanes.conclude(claim, handle(claim, ctx))
        time.sleep(0.01)
    return len(ctx.deadlines_s) - before


@pytest.mark.parametrize(("pace_s", "at_most"), [(0, 20), (0.2, 6)])
def test_an_integration_sends_at_the_configured_pace(
    redis_client: redis.Redis, pace_s: float, at_most: int
) -> None:
    """Twenty conversations: a message every 0.1 to 0.3 s, or all at once without a pace."""
    ctx = FakeContext(
        Lanes(redis_client, EngineSettings()), engine=EngineSettings(wpp_pace_s=pace_s)
    )
    for number in range(20):
        ctx.lanes.append(
            routing.route_send(
                ORGANIZATION, ROUTE.id, Message(to=f"+7999000{number:04d}", text="Hello")
            )
        )
    assert min(2, at_most) <= send_for_half_a_second(ctx, ClaimSequence()) <= at_most


def test_a_paced_message_is_postponed_to_its_slot_with_a_reason(redis_client: redis.Redis) -> None:
    """The reason names the setting."""
    ctx = FakeContext(
        Lanes(redis_client, EngineSettings()), engine=EngineSettings(wpp_pace_s=PACE_S)
    )
    results = []
    for to in ("+79990001122", "+79990003344"):
        ctx.lanes.append(routing.route_send(ORGANIZATION, ROUTE.id, Message(to=to, text="Hello")))
        claim = ctx.lanes.claim("send", ClaimSequence())
        assert claim
        results.append(handle(claim, ctx))
    assert isinstance(results[1], Postponed)
    assert "WPP_PACE_S" in results[1].reason
    assert PACE_S / 2 - 0.5 <= results[1].delay_s <= PACE_S * 1.5

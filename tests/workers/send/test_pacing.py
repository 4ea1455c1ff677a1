"""Pacing: the messages of one number leave one after the other, with a pause between."""

import time
from itertools import pairwise
from typing import cast
from uuid import UUID, uuid4

import pytest
import redis

from shared import routing
from shared.events import Message, SendEvent
from shared.lanes.client import Lanes, Postponed, Slot
from shared.settings import EngineSettings
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, Surroundings
from workers.context import WorkerContext
from workers.runner import parse_first
from workers.send import handler as send
from workers.send import pacing

PACE_S = 10.0


def message(integration_id: UUID = INTEGRATION, to: str = "79990001122") -> SendEvent:
    return SendEvent(
        id=uuid4(), organization_id=ORGANIZATION, integration_id=integration_id, to=to, text="Hello"
    )


def test_each_message_gets_the_next_slot_of_its_number(redis_client: redis.Redis) -> None:
    """Half a pause apart at least, one and a half at most; another number has slots of its own."""
    waits = [pacing.wait_s(redis_client, message(), PACE_S) for _ in range(20)]
    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert waits[0] == 0
    assert all(PACE_S / 2 - 0.1 <= gap <= PACE_S * 1.5 + 0.1 for gap in gaps)
    assert len({round(gap, 1) for gap in gaps}) > 5, "they leave like a clock"
    assert pacing.wait_s(redis_client, message(uuid4()), PACE_S) == 0


def test_a_message_keeps_its_slot(redis_client: redis.Redis) -> None:
    """Asked about again, it moves nobody, and comes nearer."""
    first, second = message(), message()
    pacing.wait_s(redis_client, first, PACE_S)
    wait_s = pacing.wait_s(redis_client, second, PACE_S)
    time.sleep(0.05)
    assert wait_s - 0.5 < pacing.wait_s(redis_client, second, PACE_S) < wait_s
    third_s = pacing.wait_s(redis_client, message(), PACE_S)
    assert wait_s + PACE_S / 2 - 0.5 <= third_s <= wait_s + PACE_S * 1.5


def test_who_misses_a_slot_gets_another(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage the messages that waited do not leave all at once."""
    monkeypatch.setattr(pacing, "LATE_S", 0.05)
    late = [message() for _ in range(3)]
    for event in late:
        pacing.wait_s(redis_client, event, 0.01)
    time.sleep(0.15)
    waits = [pacing.wait_s(redis_client, event, PACE_S) for event in late]
    assert waits[0] == 0
    assert waits[1] >= PACE_S / 2 - 0.1
    assert waits[2] >= PACE_S - 0.2


def sent(around: Surroundings, slot: Slot) -> int:
    """Handle what is ready or falls due within half a second; return how often the platform was asked."""
    before, until = len(around.left_s), time.monotonic() + 0.5
    while time.monotonic() < until:
        around.lanes.sweep("send")
        while claim := around.lanes.claim("send", slot):
            around.lanes.conclude(
                claim,
                parse_first(SendEvent, send.handle_send)(claim, cast("WorkerContext", around)),
            )
        time.sleep(0.01)
    return len(around.left_s) - before


@pytest.mark.parametrize(("pace_s", "at_most"), [(0, 20), (0.2, 6)])
def test_a_number_sends_as_slowly_as_it_is_told(
    redis_client: redis.Redis, pace_s: float, at_most: int
) -> None:
    """Of twenty conversations that begin at once, one every 0.1 to 0.3 s; without a pace all of them at once."""
    around = Surroundings(
        Lanes(redis_client, EngineSettings()), engine=EngineSettings(wpp_pace_s=pace_s)
    )
    for number in range(20):
        around.lanes.append(
            routing.route_send(
                ORGANIZATION, ROUTE.id, Message(to=f"+7999000{number:04d}", text="Hello")
            )
        )
    assert min(2, at_most) <= sent(around, Slot()) <= at_most


def test_a_paced_message_says_why_it_waits(redis_client: redis.Redis) -> None:
    """And until when."""
    around = Surroundings(
        Lanes(redis_client, EngineSettings()), engine=EngineSettings(wpp_pace_s=PACE_S)
    )
    verdicts = []
    for to in ("+79990001122", "+79990003344"):
        around.lanes.append(
            routing.route_send(ORGANIZATION, ROUTE.id, Message(to=to, text="Hello"))
        )
        claim = around.lanes.claim("send", Slot())
        assert claim
        verdicts.append(
            parse_first(SendEvent, send.handle_send)(claim, cast("WorkerContext", around))
        )
    assert isinstance(verdicts[1], Postponed)
    assert "WPP_PACE_S" in verdicts[1].reason
    assert PACE_S / 2 - 0.5 <= verdicts[1].delay_s <= PACE_S * 1.5

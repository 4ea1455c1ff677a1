"""How an event ended is told once, by the worker or by the sweeper that ended it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import structlog

from shared import routing
from shared.events import Message, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import Append, Claim, ClaimSequence, Postponed, Settled
from shared.outcomes import MessageOutcome, StatusOutcome
from shared.redis import keys
from shared.route_cache import RouteCache
from shared.settings import EngineSettings
from workers.clock.sweeper import event_sweeper
from workers.dead_letters import dead_letter_raw
from workers.telling import tell_end

ORGANIZATION, INTEGRATION = uuid4(), uuid4()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level("DEBUG")
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


def claim_send(lanes: Lanes) -> Claim:
    item = routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))
    lanes.append(item)
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    return claim


@pytest.mark.parametrize(
    ("state", "code", "event"),
    [
        ("sent", None, "message.sent"),
        ("unknown", None, "message.unknown"),
        ("failed", "refused", "message.failed"),
        ("failed", "expired", "message.expired"),
    ],
)
def test_the_end_of_a_message(
    lanes: Lanes, told: list[Any], state: Any, code: str | None, event: str
) -> None:
    claim = claim_send(lanes)
    fields = {"code": code, "reason": "why"} if code else {}
    tell_end(claim, Settled(state, fields=fields))
    assert [line["event"] for line in told] == ["message.accepted", event]
    assert told[1]["event_id"] == str(claim.id)


def test_a_message_that_goes_on_is_not_told(lanes: Lanes, told: list[Any]) -> None:
    tell_end(claim_send(lanes), Postponed(1, "paced"))
    assert [line["event"] for line in told] == ["message.accepted"]


def test_a_dead_letter_names_its_owner_and_its_reason(lanes: Lanes, told: list[Any]) -> None:
    body = f'{{"organization_id": "{ORGANIZATION}", "account": "7"}}'
    lanes.append(Append(uuid4(), "media", "media:1", "7", body))
    claim = lanes.claim("media", ClaimSequence())
    assert claim
    tell_end(claim, dead_letter_raw(claim, "unreadable", "of a newer version"))
    (line,) = told
    expected = {
        "event": "event.dead_lettered",
        "log_level": "error",
        "kind": "media",
        "organization_id": str(ORGANIZATION),
        "account": "7",
        "code": "unreadable",
        "reason": "of a newer version",
    }
    assert expected.items() <= line.items()


def test_what_a_webhook_brought(lanes: Lanes, told: list[Any]) -> None:
    """A later failure of a message that was sent is a warning of its own."""
    lanes.append(Append(uuid4(), "webhook", "event:7:1", "7", "{}"))
    claim = lanes.claim("webhook", ClaimSequence())
    assert claim
    arrived = MessageOutcome(at=utc_now(), id=uuid4(), outgoing=False, phone="7", status="read")
    later = [
        StatusOutcome(at=utc_now(), account="7", external_ids=["1"], status="read"),
        StatusOutcome(at=utc_now(), account="7", external_ids=["1"], status="failed", error="no"),
    ]
    tell_end(claim, Settled("done", [arrived, *later]))
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("message.received", "debug"),
        ("message.delivery", "debug"),
        ("message.given_up", "warning"),
    ]


def test_the_clock_tells_what_it_takes_over(
    lanes: Lanes, redis_client: redis.Redis, told: list[Any]
) -> None:
    """Once, although two clocks sweep."""
    claim = claim_send(lanes)
    redis_client.zadd(keys.leases("send"), {claim.lane: 1})
    for _ in range(2):
        event_sweeper(lanes, RouteCache(redis_client, None)).tick()
    assert [line["event"] for line in told] == [
        "message.accepted",
        "claim.lease_expired",
        "message.unknown",
    ]
    assert {
        UUID(line["event_id"]) if isinstance(line["event_id"], str) else line["event_id"]
        for line in told
    } == {claim.id}

"""A gate that nothing closes again is told to be open, once."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
import structlog

from shared import routing
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache
from workers.clock.gate_watch import GRACE_S, GateWatch

ROUTE = IntegrationRoute(
    id=uuid4(), organization_id=uuid4(), name="A", account="7", is_primary=True, is_enabled=True
)
GATE = routing.integration_gate(ROUTE.id)


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level("INFO")
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watches(redis_client: redis.Redis, clock: Clock) -> list[GateWatch]:
    """Return the watches of two clocks; a closed gate is known to both."""
    routes = RouteCache(redis_client, None)
    routes.store_routes([ROUTE])
    redis_client.hset(keys.CLOSED_GATES, GATE, 1)
    return [GateWatch(redis_client, routes, clock) for _ in range(2)]


def look(watches: list[GateWatch], clock: Clock, *times: float) -> None:
    for now in times:
        clock.now = now
        for watch in watches:
            watch.look()


def test_a_gate_that_closes_again_and_again_is_closed(
    redis_client: redis.Redis, watches: list[GateWatch], clock: Clock, told: list[Any]
) -> None:
    """Between two closings a single event tries."""
    for start in (0, 20, 40):
        redis_client.delete(keys.gate(GATE))
        look(watches, clock, start, start + GRACE_S - 1)
        redis_client.set(keys.gate(GATE), "the phone is not connected")
        look(watches, clock, start + GRACE_S, start + GRACE_S + 1)
    assert told == []


def test_a_gate_that_stays_open_is_told_by_one_of_the_clocks(
    watches: list[GateWatch], clock: Clock, told: list[Any]
) -> None:
    look(watches, clock, 0, GRACE_S, 2 * GRACE_S)
    (line,) = told
    assert {"event": "gate.opened", "gate": GATE, **ROUTE.named}.items() <= line.items()


def test_the_gate_of_the_platform_has_no_owner(
    redis_client: redis.Redis, watches: list[GateWatch], clock: Clock, told: list[Any]
) -> None:
    redis_client.delete(keys.CLOSED_GATES)
    redis_client.hset(keys.CLOSED_GATES, routing.PLATFORM_GATE, 1)
    look(watches, clock, 0, GRACE_S)
    (line,) = told
    assert (line["gate"], line["waiting"]) == ("platform", 0)
    assert "organization_id" not in line

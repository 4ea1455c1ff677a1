"""Why messages wait, as the page Lanes shows it, at a cost that does not grow with what waits."""

from typing import Any
from uuid import UUID, uuid4

import redis

from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence, Postponed
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.settings import EngineSettings
from tests.workers.ingress.console.conftest import SignedIn
from workers.ingress.console.lanes import LOOK, Look

ORGANIZATION, OTHER = uuid4(), uuid4()
HELD, LATE = uuid4(), uuid4()
REFUSED = "the platform refused the API key"


def accept(client: "redis.Redis", organization: UUID, number: UUID, to: str) -> None:
    """Accept a message of a number that has a route."""
    route = IntegrationRoute(
        id=number,
        organization_id=organization,
        name=f"Shop {str(number)[:4]}",
        account="42",
        is_primary=True,
        is_enabled=True,
    )
    client.set(keys.route(number), route.model_dump_json())
    lanes = Lanes(client, EngineSettings())
    lanes.append(routing.route_send(organization, number, Message(to=to, text="Hello")))


def hold_and_postpone(client: "redis.Redis") -> None:
    """Hold a number of an organization; let a message of another one's number be tried again."""
    lanes = Lanes(client, EngineSettings())
    accept(client, ORGANIZATION, HELD, "+79990001121")
    lanes.close_gate(routing.integration_gate(HELD), 60, REFUSED)
    assert lanes.claim("send", ClaimSequence()) is None
    accept(client, OTHER, LATE, "+79990001122")
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    lanes.conclude(claim, Postponed(30, "the platform answered 502"))


def test_a_held_lane_and_its_reason(operator: SignedIn, redis_client: redis.Redis) -> None:
    """By number and organization, with when it is tried again."""
    hold_and_postpone(redis_client)
    found = operator.get("lanes")
    (gate,) = found["held"]
    assert (gate["number"], gate["organization"]) == (str(HELD), str(ORGANIZATION))
    assert (gate["reason"], gate["lanes"]) == (REFUSED, 1)
    assert 0 < gate["left_s"] <= 60
    states = {each["state"]: each for each in found["lanes"]}
    assert set(states) == {"held", "backing off"}
    assert states["held"]["reason"] == REFUSED
    late = states["backing off"]
    assert (late["reason"], late["attempts"], late["events"]) == ("the platform answered 502", 1, 1)
    assert {each["organization"] for each in found["waiting"]} == {str(ORGANIZATION), str(OTHER)}


def test_a_filter_leaves_out_the_rest(operator: SignedIn, redis_client: redis.Redis) -> None:
    hold_and_postpone(redis_client)
    ours = operator.get("lanes", organization=str(ORGANIZATION))
    assert [each["number"] for each in ours["lanes"]] == [str(HELD)]
    assert [each["organization"] for each in ours["waiting"]] == [str(ORGANIZATION)]
    theirs = operator.get("lanes", number=str(LATE))
    assert theirs["held"] == []
    assert [each["number"] for each in theirs["lanes"]] == [str(LATE)]


def test_a_look_costs_the_same_with_many_lanes(redis_client: redis.Redis) -> None:
    """100,000 lanes that wait: no command of a look takes Redis 10 ms, and few are read.

    The machine may halt Redis within a command: a command that is slow is slow in each look.
    """
    pipe = redis_client.pipeline(transaction=False)
    for start in range(0, 100_000, 10_000):
        due = {f"send:{LATE}:7{each}": each for each in range(start, start + 10_000)}
        pipe.zadd(keys.delayed("send"), due)
    pipe.execute()
    redis_client.config_set("slowlog-log-slower-than", 10_000)
    redis_client.config_set("slowlog-max-len", 10_000)
    for first in (0, 90_000):
        slow: list[set[bytes]] = []
        before: Any = redis_client.info("stats")
        for _ in range(3):
            redis_client.slowlog_reset()
            found = Look(redis_client, None, None).read(first)
            assert found["next"] == first + LOOK
            log: Any = redis_client.slowlog_get(10_000)
            slow.append({each["command"].split()[0] for each in log})
        after: Any = redis_client.info("stats")
        assert set.intersection(*slow) == set()
        assert after["total_commands_processed"] - before["total_commands_processed"] < 3000

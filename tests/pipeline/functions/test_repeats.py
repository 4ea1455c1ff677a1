"""Calls that the CRM repeats without an Idempotency-Key."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared.redis import keys
from tests.fixtures.system import System
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel


def claims(client: "redis.Redis", organization_id: UUID) -> dict[str, int]:
    """Return the remembered calls of an organization with their lifetime in seconds."""
    names: Any = client.keys(keys.function_call(organization_id, "*", "*"))
    lifetimes: list[Any] = [client.ttl(name) for name in names]
    return {name.decode(): lifetime for name, lifetime in zip(names, lifetimes, strict=True)}


def test_a_call_is_remembered_for_ten_seconds_from_its_first_sight(
    system: System, pages: FrontEnd
) -> None:
    """A repeat does not prolong it; a different body is a new call."""
    connect_by_panel(system, pages)
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        body = {"integration_id": str(uuid4())}
        pages.call("wpp-disconnect", body)
        [(name, left_s)] = claims(client, pages.organization_id).items()
        assert 0 < left_s <= 10
        client.expire(name, 5)
        pages.call("wpp-disconnect", body)
        assert 0 < claims(client, pages.organization_id)[name] <= 5
        pages.call("wpp-disconnect", {"integration_id": str(uuid4())})
        assert len(claims(client, pages.organization_id)) == 2


@pytest.mark.parametrize("pause", ["within", "after"])
def test_after_that_time_the_same_body_is_a_new_call(
    system: System, pages: FrontEnd, pause: str
) -> None:
    """`add_new` twice creates one number within the time, and two numbers after it."""
    connect_by_panel(system, pages)
    first = pages.call("wpp-create", {"add_new": True}).data
    if pause == "after":
        with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
            client.delete(*claims(client, pages.organization_id))
    second = pages.call("wpp-create", {"add_new": True}).data
    assert (first["session"] == second["session"]) is (pause == "within")

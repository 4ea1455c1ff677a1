"""Requests are about the shard of an organization or of an account."""

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared.errors import DatabaseUnavailableError, OverloadedError
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.two_redis import TwoRedis
from workers.ingress import shard_states
from workers.ingress.app import redis_fields
from workers.ingress.deps import AppState
from workers.ingress.shard_states import ShardStates

ACCOUNT = "79990000001"


class Routes:
    """The route cache of the home."""

    def __init__(self, owner: UUID | None, error: Exception | None = None) -> None:
        self.owner = owner
        self.error = error

    def find_account_route(self, account: str) -> Any:
        assert account == ACCOUNT
        if self.error:
            raise self.error
        return self.owner and SimpleNamespace(organization_id=self.owner)


def make_states(shards: TwoRedis, routes: Routes) -> tuple[ShardStates, Any, Any]:
    states = ShardStates(shards.table)
    home: Any = SimpleNamespace(route_cache=routes)
    other: Any = SimpleNamespace()
    states.by_name |= {"a": home, "b": other}
    return states, home, other


def test_a_webhook_goes_to_the_shard_of_its_accounts_organization(two_redis: TwoRedis) -> None:
    owner = uuid4()
    two_redis.home.hset(keys.SHARD_OF, str(owner), "b")
    states, _, other = make_states(two_redis, Routes(owner))
    assert asyncio.run(states.of_account(ACCOUNT)) is other


@pytest.mark.parametrize(
    "routes", [Routes(None), Routes(None, DatabaseUnavailableError("away"))], ids=["nobody", "away"]
)
def test_a_webhook_of_an_unknown_account_is_kept_on_the_home(
    two_redis: TwoRedis, routes: Routes
) -> None:
    states, home, _ = make_states(two_redis, routes)
    assert asyncio.run(states.of_account(ACCOUNT)) is home


def test_a_request_waits_while_its_organization_moves(
    two_redis: TwoRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered 503 when that takes too long."""
    owner = uuid4()
    two_redis.home.hset(keys.SHARD_OF, str(owner), "a>b")
    states, _, other = make_states(two_redis, Routes(owner))

    async def arrive() -> None:
        await asyncio.sleep(0.2)
        two_redis.home.hset(keys.SHARD_OF, str(owner), "b")

    async def wait() -> Any:
        found, _ = await asyncio.gather(states.of_organization(owner), arrive())
        return found

    assert asyncio.run(wait()) is other
    two_redis.home.hset(keys.SHARD_OF, str(owner), "b>a")
    two_redis.table.forget(owner)
    monkeypatch.setattr(shard_states, "HOLD_S", 0.2)
    with pytest.raises(OverloadedError, match="moves"):
        asyncio.run(states.of_organization(owner))


OF_THE_PROCESS = {
    "engine",
    "keys",
    "service_role_key",
    "limits",
    "payload_ttl_s",
    "event_ids",
    "database",
    "callers",
    "operators",
    "request_limits",
    "crm_functions",
    "open_streams",
    "shared_lists",
    "feeds",
    "callback_settings",
    "file_limit",
    "file_days",
    "uploads",
    "large_bodies",
    "integration_ids",
    "shards",
}
"""Fields that each shard has in common: of no Redis, or of the home."""


def test_a_shard_has_each_field_of_a_state_that_is_about_its_redis(
    redis_client: redis.Redis,
) -> None:
    """A new field: put it into `redis_fields`, or say here that organizations share it."""
    client: Any = SimpleNamespace(mget=None)
    fields = redis_fields(redis_client, client, EngineSettings(), SimpleNamespace())  # type: ignore[arg-type]
    assert {each.name for each in dataclasses.fields(AppState)} == set(fields) | OF_THE_PROCESS
    assert not set(fields) & OF_THE_PROCESS

"""With `WPP_REDIS_REPLICAS`, an acceptance or a claim counts once the replicas have it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence
from shared.lanes.wire import read_accepted
from shared.redis import NotReplicatedError, connect, is_transient, keys
from shared.redis.client import connect_async
from shared.redis.replication import check_writable
from shared.settings import EngineSettings
from tests.fixtures.replicated_redis import ReplicatedRedis
from tests.shared.lanes.harness import LaneHarness


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis(tmp_path) as servers:
        yield servers


@pytest.fixture
def harness(servers: ReplicatedRedis) -> Iterator[LaneHarness]:
    with connect(servers.url) as client:
        yield LaneHarness(client, wpp_redis_replicas=1)


def read_replica(servers: ReplicatedRedis, key: str, field: str) -> Any:
    with redis.Redis.from_url(servers.replica.url) as client:
        return client.hget(key, field)


def test_what_was_accepted_and_claimed_is_on_the_replica(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """At the moment of the answer, not soon after."""
    for number in range(20):
        event_id = harness.append(f"lane {number}")
        assert read_replica(servers, keys.event(event_id), "state") == b"queued"
        claim = harness.claim()
        assert read_replica(servers, keys.event(event_id), "state") == b"claimed"
        harness.conclude(claim)
        assert read_replica(servers, keys.event(event_id), "state") == b"sent"


def test_an_append_is_confirmed_by_a_retry_even_though_the_retry_writes_nothing(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """The event is on the primary after the first attempt; each answer waits for the replica."""
    item = harness.item("lane")
    with servers.paused_replica():
        for _ in range(2):
            with pytest.raises(NotReplicatedError, match="0 of 1 replicas") as error:
                harness.lanes.append(item)
            assert is_transient(error.value)
        with pytest.raises(NotReplicatedError):
            check_writable(harness.client, 1)
    accepted = harness.lanes.append(item)
    assert (accepted.id, accepted.new) == (item.id, False)
    check_writable(harness.client, 1)


def test_a_claim_that_the_replica_does_not_confirm_is_handed_back(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """It was no attempt. The same sequence gets a new claim once the replica confirms again."""
    event_id = harness.append("lane")
    with servers.paused_replica():
        with pytest.raises(NotReplicatedError):
            harness.claim()
        record = harness.client.hmget(keys.event(event_id), "state", "attempts")
        assert record == [b"queued", b"0"]
        assert harness.client.zcard(keys.leases("send")) == 0
    claim = harness.claim()
    assert (claim.id, claim.attempts) == (event_id, 1)


def test_a_result_is_offered_again_until_the_replica_has_it(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """A repeated result counts, and the claim that came with it is handed back meanwhile."""
    for name in ("one", "two"):
        harness.append(name)
    claim = harness.claim()
    with servers.paused_replica(), pytest.raises(NotReplicatedError):
        harness.conclude(claim)
    assert harness.conclude(claim)
    assert read_replica(servers, keys.event(claim.id), "state") == b"sent"


def test_a_failover_costs_only_what_was_not_confirmed(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """What the caller was not told is gone, and its retry is a new event."""
    kept = harness.append("lane")
    servers.cut_replication()
    lost = harness.item("lane")
    with pytest.raises(NotReplicatedError):
        harness.lanes.append(lost)
    servers.primary.kill()
    servers.promote()
    servers.replica.start()
    servers.replicate()
    assert harness.lanes.append(lost).new
    assert [harness.claim().id, harness.nothing_ready()] == [kept, True]


def test_an_old_primary_that_nobody_demoted_is_left_behind(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """Its connections stay open; that no replica confirms is why they are replaced."""
    harness.append("lane")
    servers.cut_replication()
    servers.promote()
    with pytest.raises(NotReplicatedError):
        harness.append("lane")
    assert harness.client.role()[0] == b"master"
    with redis.Redis.from_url(servers.primary.url) as client:
        info: Any = client.info("clients")
    assert info["connected_clients"] >= 2, "the harness's connection leads to the new primary"


def test_async_appends_wait_for_the_replica_as_well(
    servers: ReplicatedRedis, harness: LaneHarness
) -> None:
    """A batch is confirmed as a whole."""
    items = [harness.item(f"lane {number}") for number in range(3)]
    lanes = Lanes(harness.client, EngineSettings(wpp_redis_replicas=1))

    async def run() -> None:
        client = connect_async(SecretStr(servers.url))
        try:
            with servers.paused_replica(), pytest.raises(NotReplicatedError):
                await lanes.append_async(client, items)
            replies = await lanes.append_async(client, items)
        finally:
            await client.aclose()
        accepted = [read_accepted(*each) for each in zip(items, replies, strict=True)]
        assert [each.new for each in accepted] == [False] * 3

    asyncio.run(run())
    assert len({harness.lanes.claim("send", ClaimSequence()) for _ in items}) == 3

"""The clock measures the oldest event of each kind, and counts unknown messages."""

from uuid import uuid4

import redis

from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence, Postponed, Settled
from shared.redis import keys
from shared.settings import EngineSettings
from workers.clock.gauges import count_unknown, find_oldest

ORGANIZATION, INTEGRATION = uuid4(), uuid4()


def accept(client: redis.Redis, lanes: Lanes, peer: str, age_s: int) -> None:
    item = routing.route_send(ORGANIZATION, INTEGRATION, Message(to=peer, text="Hello"))
    lanes.append(item)
    accepted = int(client.hget(keys.event(item.id), "accepted") or 0)
    client.hset(keys.event(item.id), "accepted", accepted - age_s * 1000)


def test_the_oldest_event_in_every_place(redis_client: redis.Redis) -> None:
    """Ready, claimed and postponed lanes count."""
    lanes = Lanes(redis_client, EngineSettings())
    assert find_oldest(redis_client)["send"] == 0
    accept(redis_client, lanes, "+79990001121", 100)
    assert 100 <= find_oldest(redis_client)["send"] < 190
    accept(redis_client, lanes, "+79990001122", 200)
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert 200 <= find_oldest(redis_client)["send"] < 290
    lanes.conclude(claim, Postponed(60, "later"))
    assert 200 <= find_oldest(redis_client)["send"] < 290
    assert find_oldest(redis_client)["webhook"] == 0


def test_unknown_messages_are_counted(redis_client: redis.Redis) -> None:
    lanes = Lanes(redis_client, EngineSettings())
    for peer in ("+79990001121", "+79990001122"):
        accept(redis_client, lanes, peer, 0)
        claim = lanes.claim("send", ClaimSequence())
        assert claim
        lanes.conclude(claim, Settled("unknown"))
    assert count_unknown(redis_client) == 2

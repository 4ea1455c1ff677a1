"""A Redis without any memory left: nothing new is accepted, and what was accepted is worked off, which makes room."""

from collections.abc import Iterator
from threading import Event as Flag
from uuid import uuid4

import dramatiq
import pytest
import redis

from shared import routing
from shared.broker import DurableRedisBroker
from shared.errors import OverloadedError
from shared.events import Message
from shared.lanes.client import Lanes, Settled
from shared.outbox import Outbox
from shared.redis import keys
from shared.route_cache import RouteCache
from shared.settings import EngineSettings
from tests.shared.broker.workshop import eventually, working
from workers.clock.__main__ import Sweeper
from workers.runner import drain

EVENTS = 20


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


@pytest.fixture
def broker(redis_client: redis.Redis, lanes: Lanes) -> DurableRedisBroker:
    """Return a broker whose workers settle sends as sent."""
    broker = DurableRedisBroker(client=redis_client, heartbeat_timeout=1_500, tick_interval=200)

    @dramatiq.actor(broker=broker, queue_name="send", actor_name="drain_send")
    def drain_send() -> None:
        drain(
            lanes, "send", lambda _claim: Settled("sent"), lambda *_: Settled("failed"), Flag(), 0.1
        )

    return broker


@pytest.fixture
def full(redis_client: redis.Redis) -> Iterator[None]:
    yield
    redis_client.config_set("maxmemory", 0)


@pytest.mark.usefixtures("full")
def test_what_was_accepted_is_worked_off(
    redis_client: redis.Redis, lanes: Lanes, broker: DurableRedisBroker
) -> None:
    """The clock wakes, workers fetch, settle and acknowledge, the recorder empties the outbox."""
    for number in range(EVENTS):
        lanes.append(
            routing.route_send(uuid4(), uuid4(), Message(to=f"+7999000{number:04}", text="Hello"))
        )
    outbox = Outbox(redis_client, "recorder")
    outbox.read(idle_s=0.01)
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(OverloadedError):
        lanes.append(routing.route_send(uuid4(), uuid4(), Message(to="+79990001122", text="Hello")))
    Sweeper(redis_client, lanes, RouteCache(redis_client, database=None)).tick()
    with working(broker):
        eventually(lambda: not redis_client.exists(keys.waiting("send")))
        eventually(lambda: not broker.desk.queues.size("send"))
    outbox.acknowledge(outbox.read(idle_s=0.01))
    assert len(outbox) == 0

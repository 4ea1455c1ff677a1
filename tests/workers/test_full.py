"""A full Redis refuses new events; accepted events are worked off, which frees memory."""

from collections.abc import Iterator
from uuid import uuid4

import dramatiq
import pytest
import redis

from shared import routing
from shared.errors import OverloadedError
from shared.events import Message, SendEvent
from shared.lanes.broker import LaneBroker
from shared.outbox import Outbox
from shared.redis import keys
from shared.route_cache import RouteCache
from tests.shared.lanes.workers import eventually, working
from workers.clock.sweeper import event_sweeper
from workers.event_codec import EventCodec

EVENTS = 20


@pytest.fixture
def broker(redis_client: redis.Redis) -> LaneBroker:
    """Return a broker whose workers handle every event at once."""
    broker = LaneBroker(redis_client, codec=EventCodec())

    @dramatiq.actor(broker=broker, queue_name="send")
    def send_message(event: SendEvent) -> None:
        assert event.text

    return broker


@pytest.fixture
def full(redis_client: redis.Redis) -> Iterator[None]:
    yield
    redis_client.config_set("maxmemory", 0)


@pytest.mark.usefixtures("full")
def test_what_was_accepted_is_worked_off(redis_client: redis.Redis, broker: LaneBroker) -> None:
    """The clock sweeps, workers claim and settle, the recorder empties the outbox."""
    for number in range(EVENTS):
        message = Message(to=f"+7999000{number:04}", text="Hello")
        broker.lanes.append(routing.route_send(uuid4(), uuid4(), message))
    outbox = Outbox(redis_client)
    queued = outbox.read(idle_s=0.01)
    redis_client.config_set("maxmemory", 1)
    item = routing.route_send(uuid4(), uuid4(), Message(to="+79990001122", text="Hello"))
    with pytest.raises(OverloadedError):
        broker.lanes.append(item)
    event_sweeper(broker.lanes, RouteCache(redis_client, database=None)).tick()
    with working(broker):
        eventually(lambda: not redis_client.exists(keys.waiting("send")))
    outbox.acknowledge(queued)
    outbox.acknowledge(outbox.read(idle_s=0.01))
    assert len(outbox) == 0

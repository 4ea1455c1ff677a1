"""The two brokers behind the same interface."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Protocol
from uuid import uuid4

from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message

from bench.engine_sides.place import Place, wait_until
from sandbox.processes import Process
from shared import routing
from shared.lanes.client import Lanes
from shared.lanes.scripts import APPEND
from shared.producer import Producer
from shared.redis import keys
from shared.settings import EngineSettings

THREADS = 8
AT_ONCE = 1000


class Side(Protocol):
    """A broker on the Redis of its `place`."""

    place: Place

    def workers(self, processes: int = 1) -> Process:
        """Start worker processes under a master; return when all are ready."""

    def put(self, payload: dict[str, Any], tenant: str = "one") -> None:
        """Enqueue an event, as a service would."""

    def fill(self, lanes: Iterable[tuple[str, str]]) -> None:
        """Append a no-op event for each (tenant, lane), quickly."""

    def waiting(self) -> bool: ...


@dataclass
class Ours:
    place: Place

    def workers(self, processes: int = 1) -> Process:
        command = "dramatiq bench.engine_sides.ours_worker --queues webhook"
        return _start(self.place, command, processes, blocked_consumers)

    def put(self, payload: dict[str, Any], tenant: str = "one") -> None:
        self._producer.append(
            routing.route_webhook(tenant, payload, uuid4().hex, payload.get("lane", uuid4().hex))
        )

    def fill(self, lanes: Iterable[tuple[str, str]]) -> None:
        """Each event is a copy with its own id, tenant and lane."""
        item = routing.route_webhook("TENANT", {}, "any", "LANE")
        texts = Lanes(self.place.redis, EngineSettings()).append_arguments([item])
        texts = [text.replace(str(item.id), "IDENTITY") for text in texts]
        self.place.redis.script_load(APPEND.source)
        for some in _batches(lanes):
            pipe = self.place.redis.pipeline(transaction=False)
            for tenant, lane in some:
                own_id = str(uuid4())
                named = [
                    text.replace("IDENTITY", own_id).replace("TENANT", tenant).replace("LANE", lane)
                    for text in texts
                ]
                APPEND.add_to(pipe, [keys.PREFIX], named)
            pipe.execute()

    def waiting(self) -> bool:
        return bool(self.place.redis.exists(keys.waiting("webhook")))

    @cached_property
    def _producer(self) -> Producer:
        return Producer.connect(self.place.server.url)


@dataclass
class Stock:
    place: Place

    def workers(self, processes: int = 1) -> Process:
        command = "dramatiq bench.engine_sides.stock_worker --queues default"
        return _start(self.place, command, processes, heartbeats)

    def put(self, payload: dict[str, Any], tenant: str = "one") -> None:  # noqa: ARG002 - it knows no tenants
        self._broker.enqueue(_message(payload))

    def fill(self, lanes: Iterable[tuple[str, str]]) -> None:
        """Write the keys that the broker's script would write."""
        for some in _batches(lanes):
            ids = [str(uuid4()) for _ in some]
            messages = {
                each: _message({}).copy(options={"redis_message_id": each}).encode() for each in ids
            }
            self.place.redis.hset("dramatiq:default.msgs", mapping=messages)
            self.place.redis.rpush("dramatiq:default", *ids)

    def waiting(self) -> bool:
        return bool(self.place.redis.exists("dramatiq:default.msgs"))

    @cached_property
    def _broker(self) -> RedisBroker:
        broker = RedisBroker(url=self.place.server.url)
        broker.declare_queue("default")
        return broker


def _message(payload: dict[str, Any]) -> "Message[None]":
    return Message(queue_name="default", actor_name="take", args=(payload,), kwargs={}, options={})


def blocked_consumers(place: Place) -> int:
    """Return how many consumers of ours wait for a bell."""
    return sum(each["cmd"] == "blpop" for each in place.redis.client_list())


def heartbeats(place: Place) -> int:
    return int(place.redis.zcard("dramatiq:__heartbeats__"))


def _start(
    place: Place, command: str, processes: int, count_ready: Callable[[Place], int]
) -> Process:
    """Start workers, and wait until so many more are ready."""
    before = count_ready(place)
    started = place.start(f"{command} --processes {processes} --threads {THREADS} --skip-logging")
    assert wait_until(lambda: count_ready(place) >= before + processes), (
        f"{command}: see {started.program.log}"
    )
    place.check()
    return started


def _batches(lanes: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    them = iter(lanes)
    while some := list(islice(them, AT_ONCE)):
        yield some

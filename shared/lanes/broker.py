"""The lanes as a Dramatiq broker: one process' view of them.

An actor's messages stand in lanes: enqueue appends, a consumer claims as many heads as worker
threads are free, ack settles and claims the next ones in the same round trip, nack ends as a dead
letter, requeue hands back in order. Options of a message or an actor: `lane` (default: a lane of
its own), `tenant`, `gates`, `max_age` (ms). `delay` is Dramatiq's own.

Delivery is at least once. A claim whose process dies is taken over by the sweeper
(`shared/lanes/sweeper.py`) when its lease ends. Events that must not run twice are concluded by
their actor (`LaneMessage.conclude_with`) and by the sweeper's policy. An actor that takes longer
than the lease (`WPP_LEASE_S`) renews it with `lanes.extend(message.claim)`.
"""

import time
from contextlib import suppress
from threading import Thread
from typing import Any

import redis
from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.errors import QueueJoinTimeout
from dramatiq.worker import ConsumerThread

from shared.lanes.capacity import Capacity
from shared.lanes.client import Lanes
from shared.lanes.codec import Codec, MessageCodec
from shared.lanes.consumer import LaneConsumer
from shared.lanes.exchange import ClaimExchange
from shared.lanes.message import LaneMessage
from shared.lanes.types import Postponed
from shared.lanes.work_queue import WorkQueue
from shared.redis import keys
from shared.settings import EngineSettings

IDLE_TIMEOUTS = 10
"""For how many of Dramatiq's timeouts (1 s) idle threads wait: messages and a stop wake them."""


class LaneBroker(Broker):
    """A Dramatiq broker on the durable Redis behind `client` (`shared.redis.connect`).

    Building it does no I/O. `replies` grows with every reply of Redis, for `Watchdog`.
    """

    def __init__(
        self,
        client: "redis.Redis",
        *,
        settings: EngineSettings | None = None,
        middleware: list[Middleware] | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(middleware=middleware)
        self.actor_options |= {"lane", "tenant", "gates", "max_age"}
        self.client = client
        self.lanes = Lanes(client, settings or EngineSettings())
        self.codec: Codec = codec or MessageCodec(self)
        self.capacity = Capacity(1)
        self.work_queue = WorkQueue()
        self.exchanges: dict[str, ClaimExchange] = {}
        self.add_middleware(_WorkerLifecycle())

    @property
    def replies(self) -> int:
        return sum(exchange.replies for exchange in self.exchanges.values())

    def declare_queue(self, queue_name: str) -> None:
        """Declare `queue_name`. It has no delay queue: Redis holds messages until they are due."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> LaneConsumer:
        """Return a consumer that claims at most `prefetch` messages, and only for free threads."""
        return LaneConsumer(self.exchanges[queue_name], prefetch, timeout / 1000)

    def enqueue(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """Append `message` to its lane, due after `delay` ms.

        A message that is being processed is postponed instead, at the head of its lane: this is
        how `Retries` retries.

        Raises:
            redis.RedisError: it could not be done, or its reply was lost; doing it again is safe.
            IdempotencyConflictError: its id stands for another message.
            OverloadedError: too much is waiting.
        """
        if isinstance(message, LaneMessage):
            body = message.copy().encode().decode()
            message.conclude_with(Postponed((delay or 0) / 1000, "retried", fields={"body": body}))
            return message
        self.emit_before("enqueue", message, delay)
        self.lanes.append(self.codec.encode(message, (delay or 0) / 1000))
        self.emit_after("enqueue", message, delay)
        return message

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Wait until every message of the queue, delayed ones too, is settled. Times in ms.

        Raises:
            QueueJoinTimeout: it took longer than `timeout`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while self.client.exists(keys.waiting(queue_name)):
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(interval / 1000)

    def open_exchange(self, thread: ConsumerThread) -> None:
        """Prepare the claims of a queue; the thread hands messages to the worker threads."""
        self.capacity.add_queue(thread.queue_name)
        self.exchanges[thread.queue_name] = ClaimExchange(
            self.lanes, thread.queue_name, self.codec, self.capacity, thread.handle_message
        )

    def wake_consumers(self) -> None:
        """End the waits of the consumers for messages, so that they see that the process stops."""
        with suppress(redis.RedisError):  # they wait until their timeout is over
            for exchange in self.exchanges.values():
                exchange.wake()


class _WorkerLifecycle(Middleware):
    """Opens and closes what the consumers of one worker process share."""

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        if isinstance(broker, LaneBroker):
            broker.capacity = Capacity(worker.worker_threads)
            broker.exchanges = {}
            worker.worker_timeout *= IDLE_TIMEOUTS
            worker.work_queue = broker.work_queue = WorkQueue()

    def after_consumer_thread_boot(self, broker: Broker, thread: ConsumerThread) -> None:
        if isinstance(broker, LaneBroker):
            broker.open_exchange(thread)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Nothing more is claimed, while the rest is finished."""
        if isinstance(broker, LaneBroker):
            broker.capacity.stop()
            broker.work_queue.stop()
            # A thread of its own: Redis may not answer, and the rest is not kept waiting.
            Thread(target=broker.wake_consumers, daemon=True, name="wake").start()

"""Dramatiq's broker on Redis, hardened: what was enqueued runs, whatever is killed, restarted or cut off.

Against the broker that comes with Dramatiq 2.2.1 (each of these was reproduced with it):

- A retry takes the place of the attempt that failed in one step; if Redis can't be reached then, the attempt is not
  acknowledged and runs again. A failing callback or pipeline step has the same effect.
- Delayed messages wait in Redis, not in a worker's memory, and become ready in one step.
- A lost reply costs seconds, never a message: enqueueing twice is enqueueing once, a fetch that didn't arrive is
  handed back. A message that can't be read becomes a dead letter alone.
- Heartbeats, and recovery of what dead workers held, run on a clock (`keeper.py`), without a scan of the database.
- Idle workers block on a bell instead of polling.
- At shutdown, what was fetched and not begun goes back to the head of its queue, in order.

Delivery is at least once: a worker that is killed, or silent for longer than its heartbeat timeout, may have done
more than it could say. Enqueueing one `Message` object again within a minute is a repetition, not a second message.
One primary Redis, no cluster: the scripts build the names of their keys.
"""

import threading
import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import redis
import structlog
from dramatiq import Broker, Message, MessageProxy, Middleware, Worker
from dramatiq.common import q_name
from dramatiq.errors import QueueJoinTimeout

from shared.broker import queues
from shared.broker.consumer import Desk, DurableConsumer
from shared.broker.keeper import Keeper
from shared.broker.queues import Entry, Queues, load_scripts
from shared.events import QueueName

__all__ = ["DurableRedisBroker", "enqueue_on", "load_scripts", "wake_up"]

NAMESPACE = "wpp:dramatiq"
HEARTBEAT_TIMEOUT_MS = 20_000
"""Longer than a stall of a busy machine, shorter than the 30 s within which a killed worker's messages run again."""
TICK_INTERVAL_MS = 3_000
DEAD_LETTER_TTL_MS = 7 * 86_400_000

log = structlog.get_logger(__name__)


class DurableRedisBroker(Broker):
    """A Dramatiq broker on the durable Redis behind `client` (see `shared.durable.connect`).

    `heartbeat_timeout`: ms of silence after which a worker counts as dead. `tick_interval`: ms between heartbeats; a
    dead worker's messages are ready again after at most the sum of the two. `dead_letter_ttl`: ms that rejected
    messages are kept. Building it does no I/O.
    """

    def __init__(
        self,
        *,
        client: "redis.Redis",
        namespace: str = NAMESPACE,
        middleware: list[Middleware] | None = None,
        heartbeat_timeout: int = HEARTBEAT_TIMEOUT_MS,
        tick_interval: int = TICK_INTERVAL_MS,
        dead_letter_ttl: int = DEAD_LETTER_TTL_MS,
    ) -> None:
        super().__init__(middleware=middleware)
        self.client = client
        self.namespace = namespace
        self.heartbeat_timeout = heartbeat_timeout
        self.tick_interval = tick_interval
        self.dead_letter_ttl = dead_letter_ttl
        self.desk = Desk(Queues(client, namespace))
        self.keeper: Keeper | None = None
        self._concluding = threading.local()
        self.add_middleware(_Shifts())

    def open_desk(self) -> None:
        """Begin to work: a new name among the workers, and a keeper."""
        self.desk = Desk(Queues(self.client, self.namespace))
        self.keeper = Keeper(
            self.desk,
            interval_s=self.tick_interval / 1000,
            heartbeat_timeout=self.heartbeat_timeout,
            dead_letter_ttl=self.dead_letter_ttl,
        )
        self.keeper.start()

    @property
    def replies(self) -> int:
        """A count that grows while Redis answers this worker (for `shared.broker.watchdog`)."""
        return self.keeper.replies if self.keeper else 0

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> DurableConsumer:
        return DurableConsumer(self.desk, queue_name, prefetch, timeout)

    def declare_queue(self, queue_name: str) -> None:
        """Declare `queue_name`. It has no delay queue of its own: Redis itself keeps messages until they are due."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """Enqueue `message`, to run after `delay` ms. Called for the message in hand by Retries: put it in its place.

        Raises:
            redis.RedisError: it could not be done, or nobody knows; doing it again is safe.
        """
        in_hand = getattr(self._concluding, "message", None)
        replaces = message.options["redis_message_id"] if message is in_hand else ""
        stamped = _stamp(message)
        self.emit_before("enqueue", stamped, delay)
        self.desk.queues.enqueue(_entry(stamped, delay=delay or 0, replaces=replaces))
        if in_hand is not None and replaces:
            in_hand.detached = True
        self.emit_after("enqueue", stamped, delay)
        return stamped

    def enqueue_many(self, messages: "Iterable[Message[Any]]") -> "list[Message[Any]]":
        """Enqueue all of `messages` in one round trip. After an error it is safe to do it again."""
        stamped = [_stamp(message) for message in messages]
        for message in stamped:
            self.emit_before("enqueue", message, None)
        self.desk.queues.enqueue_many(_entry(message) for message in stamped)
        for message in stamped:
            self.emit_after("enqueue", message, None)
        return stamped

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Emit `signal`. After a message was processed, a failing Redis leaves it unacknowledged: it will run again."""
        if signal != "process_message":
            super().emit_after(signal, *args, **kwargs)
            return
        message: MessageProxy = args[0]
        self._concluding.message = message
        try:
            for middleware in reversed(self.middleware):
                self._conclude(middleware, message, **kwargs)
        finally:
            self._concluding.message = None

    def flush(self, queue_name: str) -> None:
        self.desk.queues.purge(queue_name)

    def flush_all(self) -> None:
        for queue_name in self.get_declared_queues():
            self.flush(queue_name)

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Wait until every message of the queue, delayed ones too, is done. For tests. Times in ms.

        Raises:
            QueueJoinTimeout: it took longer than `timeout`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while self.desk.queues.size(queue_name):
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(interval / 1000)

    def _conclude(self, middleware: Middleware, message: Any, **kwargs: Any) -> None:
        try:
            middleware.after_process_message(self, message, **kwargs)
        except redis.RedisError as error:
            message.detached = True
            log.warning(
                "broker.unconcluded",
                message_id=message.message_id,
                by=repr(middleware),
                error=str(error),
            )
        except Exception:
            log.exception(
                "broker.middleware_failed", message_id=message.message_id, by=repr(middleware)
            )


class _Shifts(Middleware):
    """Opens and closes the desk with the worker."""

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        if isinstance(broker, DurableRedisBroker):
            broker.open_desk()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        """Nothing more is begun; heartbeats go on while the rest is finished."""
        if isinstance(broker, DurableRedisBroker):
            broker.desk.stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        if isinstance(broker, DurableRedisBroker) and broker.keeper:
            broker.keeper.stop()


def enqueue_on(
    pipe: Any,
    message: "Message[Any]",
    *,
    unless_depth: int | None = None,
    wanted: str = "",
    namespace: str = NAMESPACE,
) -> None:
    """Add the enqueue of `message` to a pipeline of `redis` or `redis.asyncio`; nothing is sent yet, no broker needed.

    Its result is 1, or 0 if the queue has `unless_depth` messages waiting already, or the counter `wanted` (a key) is
    at zero, or this one was enqueued before.
    Where the pipeline meets `NoScriptError` (Redis was restarted): `load_scripts`, and the same once more.
    """
    entry = _entry(
        _stamp(message), unless_depth=-1 if unless_depth is None else unless_depth, wanted=wanted
    )
    queues.enqueue_on(pipe, namespace, entry)


def wake_up(kind: QueueName) -> "Message[None]":
    """Return the message that makes one worker thread drain the lanes of `kind`."""
    return Message(queue_name=kind, actor_name=f"drain_{kind}", args=(), kwargs={}, options={})


def _stamp(message: "Message[Any]") -> "Message[Any]":
    """Give it its id in Redis: its own the first time, so that a repetition is known for one; a new one each retry."""
    message_id = str(uuid4()) if "redis_message_id" in message.options else message.message_id
    return message.copy(
        queue_name=q_name(message.queue_name), options={"redis_message_id": message_id}
    )


def _entry(
    message: "Message[Any]",
    *,
    delay: int = 0,
    unless_depth: int = -1,
    replaces: str = "",
    wanted: str = "",
) -> Entry:
    return Entry(
        queue=message.queue_name,
        id=message.options["redis_message_id"],
        message=message.encode(),
        delay=delay,
        unless_depth=unless_depth,
        replaces=replaces,
        wanted=wanted,
    )

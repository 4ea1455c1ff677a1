"""What a worker process holds in its hands, and how one of its threads takes messages off a queue."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Self

import redis
import structlog
from dramatiq import Consumer, Message, MessageProxy
from dramatiq.errors import ConnectionClosed

from shared.broker.queues import Queues

FETCHED_AT_ONCE = 1000
"""Messages per fetch: Redis does nothing else meanwhile."""
STOPPING_POLL_S = 0.05

log = structlog.get_logger(__name__)


class HeldMessage(MessageProxy):
    """A message in our hands. Once `detached`, there is nothing left to tell Redis about it."""

    detached = False


class Desk:
    """What the threads of one worker process share.

    `held`: ids per queue, from fetch to settling. An id that Redis lists as ours and that isn't here has been lost
    on the way (see Keeper). `listening`: the queues whose bells somebody of this process blocks on.
    """

    def __init__(self, queues: Queues) -> None:
        self.queues = queues
        self.held: dict[str, set[str]] = {}
        self.consumers: dict[str, DurableConsumer] = {}
        self.stopping = threading.Event()
        self.attended = False
        self.listening: frozenset[str] = frozenset()

    def holds(self, message_id: str) -> bool:
        return any(message_id in ids for ids in list(self.held.values()))

    def listen(self, queue: str) -> None:
        """Make sure that somebody blocks on the bell of `queue`."""
        if self.attended and queue not in self.listening:
            self.queues.poke()


class DurableConsumer(Consumer):
    """Messages of one queue. Where nothing is waiting it sleeps until the Keeper hears the queue's bell.

    `timeout`: ms after which `next` returns None, without asking Redis.
    """

    def __init__(self, desk: Desk, queue_name: str, prefetch: int, timeout: int) -> None:
        self.desk = desk
        self.queue_name = queue_name
        self.prefetch = prefetch
        self.held = desk.held.setdefault(queue_name, set())
        self.fetching_since: float | None = None
        self._timeout_s = timeout / 1000
        self._fetched: deque[tuple[str, bytes]] = deque()
        self._more = True  # the queue may have something for us
        self._look = threading.Event()  # and now is the time to see
        self._look.set()
        desk.consumers[queue_name] = self

    @property
    def room(self) -> int:
        """How many more messages this process may hold, those of an earlier consumer of this queue counted."""
        return self.prefetch - len(self.held)

    def call(self) -> None:
        """Come and see: there may be something in the queue."""
        self._more = True
        self._look.set()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MessageProxy | None:
        if self.desk.stopping.is_set():
            time.sleep(min(self._timeout_s, STOPPING_POLL_S))
            return None
        try:
            if not self._fetched:
                self._fetch()
            return self._take() if self._fetched else None
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None

    def ack(self, message: "MessageProxy | Message[Any]") -> None:
        if not getattr(message, "detached", False):
            self._settle(message, self.desk.queues.ack)
        self._drop(message)

    def nack(self, message: "MessageProxy | Message[Any]") -> None:
        if not getattr(message, "detached", False):
            self._settle(message, self.desk.queues.nack)
        self._drop(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back `messages`, and behind them what was fetched and not yet delivered."""
        ids = [message.options["redis_message_id"] for message in messages]
        ids += [message_id for message_id, _ in self._fetched]
        self._fetched.clear()
        try:
            self.desk.queues.requeue(ids)
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None
        finally:
            self.held.difference_update(ids)

    def close(self) -> None:
        if self.desk.consumers.get(self.queue_name) is self:
            del self.desk.consumers[self.queue_name]
        self.requeue([])

    def _fetch(self) -> None:
        if not self._look.wait(self._timeout_s) and self.desk.attended:
            return
        self._look.clear()
        room = min(self.room, FETCHED_AT_ONCE)
        if room <= 0:
            return  # the next message to be settled looks again
        self._more = False
        self.fetching_since = time.monotonic()
        try:
            self._fetched.extend(self.desk.queues.fetch(self.queue_name, room))
            self.held.update(message_id for message_id, _ in self._fetched)
        finally:
            self.fetching_since = None
        if len(self._fetched) == room:
            self.call()
        else:
            self.desk.listen(self.queue_name)

    def _take(self) -> MessageProxy | None:
        message_id, data = self._fetched.popleft()
        try:
            # Queue and id are what Redis says: a worker thread dies of a message that names another queue.
            options = {"redis_message_id": message_id}
            return HeldMessage(
                Message.decode(data).copy(queue_name=self.queue_name, options=options)
            )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it must not take others along
            log.error(  # noqa: TRY400
                "broker.undecodable",
                queue=self.queue_name,
                message_id=message_id,
                error=repr(error),
            )
            try:
                self.desk.queues.nack(self.queue_name, message_id)
            finally:
                self.held.discard(message_id)
            return None

    def _settle(self, message: Any, command: Callable[[str, str], None]) -> None:
        try:
            command(self.queue_name, message.options["redis_message_id"])
        except (
            redis.RedisError
        ) as error:  # TimeoutError is no ConnectionError: Dramatiq would give up (its issue 894)
            raise ConnectionClosed(error) from None

    def _drop(self, message: Any) -> None:
        self.held.discard(message.options["redis_message_id"])
        if self._more:
            self._look.set()

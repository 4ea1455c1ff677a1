"""One thread of each worker process that listens for work and keeps the time: heartbeats, recovery, delays."""

import threading
import time

import redis
import structlog

from shared.broker.consumer import Desk

log = structlog.get_logger(__name__)

AFTER_FAILURE_S = 1.0
GRAIN_S = 0.01
"""The shortest time between two ticks for delayed messages: every worker that knows of the next one ticks for it."""
SHORTEST_BLOCK_S = 0.01
"""Redis 6.2 cuts a timeout to whole ms, and zero blocks for ever. It looks at timeouts ten times a second."""


class Keeper(threading.Thread):
    """Blocks on the bells of every queue that this process has room for, and ticks every `interval_s` seconds.

    A tick is the heartbeat; it takes over from workers that went silent, promotes delayed messages that are due,
    and hands back orphans: ids that Redis lists as ours and no thread of ours has, because the reply to a fetch was
    lost or a retry could not be enqueued. Bells are hints and may be lost; ticks find what they would have said.
    """

    def __init__(
        self, desk: Desk, *, interval_s: float, heartbeat_timeout: int, dead_letter_ttl: int
    ) -> None:
        super().__init__(daemon=True, name="keeper")
        self.replies = 0
        self._desk = desk
        self._queues = desk.queues
        self._interval_s = min(interval_s, _longest_block_s(desk.queues.client))
        self._heartbeat_timeout = heartbeat_timeout
        self._dead_letter_ttl = dead_letter_ttl
        self._stopped = threading.Event()
        self._next_tick = 0.0
        self._suspects: set[str] = set()
        self._scanned_at = 0.0

    def run(self) -> None:
        self._desk.attended = True
        while not self._stopped.is_set():
            try:
                self._turn()
            except redis.RedisError as error:
                log.warning("broker.redis_away", error=str(error))
                self._rest()
            except Exception:
                log.exception("broker.keeper_failed")
                self._rest()
        self._desk.attended = False

    def stop(self) -> None:
        """End within a second, with a last word to Redis if it listens."""
        self._stopped.set()
        try:
            self._queues.poke()
            self.join(AFTER_FAILURE_S)
            self._queues.leave()
        except redis.RedisError as error:
            log.warning("broker.left_silently", error=str(error))

    def _turn(self) -> None:
        if time.monotonic() >= self._next_tick:
            self._tick()
        bells = self._bells()
        wait_s = max(SHORTEST_BLOCK_S, self._next_tick - time.monotonic())
        rung = self._queues.await_bell(list(bells), wait_s)
        self.replies += 1
        if rung:
            self._heard(bells[rung])

    def _bells(self) -> dict[str, str]:
        """Return {bell: queue} to listen to; the queue of our own bell is empty."""
        self._desk.listening = (
            frozenset()
        )  # first: a consumer that finds its queue empty from now on pokes us
        consumers = list(self._desk.consumers.items())
        hungry = [queue for queue, consumer in consumers if consumer.room > 0]
        self._desk.listening = frozenset(hungry)
        delayed = [f"{queue}.DQ" for queue, _ in consumers]
        return {self._queues.own_bell: ""} | {
            self._queues.bell(queue): queue for queue in [*hungry, *delayed]
        }

    def _heard(self, queue: str) -> None:
        if queue.endswith(".DQ"):
            self._next_tick = 0.0
        elif queue:
            consumer = self._desk.consumers.get(queue)
            if consumer:
                consumer.call()
            if not consumer or consumer.room <= 0:
                self._queues.pass_on(queue)

    def _tick(self) -> None:
        began = time.monotonic()
        queues = list(self._desk.consumers)
        tick = self._queues.tick(queues, self._heartbeat_timeout, self._dead_letter_ttl)
        self.replies += 1
        due_s = self._interval_s if tick.due_s is None else tick.due_s
        self._next_tick = began + min(self._interval_s, max(due_s, GRAIN_S))
        self._adopt(tick.held)

    def _adopt(self, held: list[str]) -> None:
        """Hand back orphans: ids without a thread in two scans, and no fetch on its way that could still bring them."""
        on_their_way = any(
            since is not None and since <= self._scanned_at
            for since in [
                consumer.fetching_since for consumer in list(self._desk.consumers.values())
            ]
        )
        suspects = {message_id for message_id in held if not self._desk.holds(message_id)}
        orphans = [message_id for message_id in held if message_id in suspects & self._suspects]
        self._suspects, self._scanned_at = suspects, time.monotonic()
        if orphans and not on_their_way:
            log.warning("broker.orphans", count=len(orphans))
            self._queues.requeue(orphans)

    def _rest(self) -> None:
        self._next_tick = 0.0
        self._stopped.wait(AFTER_FAILURE_S)


def _longest_block_s(client: "redis.Redis") -> float:
    """Return what a command may block without the client taking the server for dead; redis-py's own default is 5 s."""
    return 0.8 * float(client.connection_pool.connection_kwargs.get("socket_timeout") or 5)

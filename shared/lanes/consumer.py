"""How a worker process waits for events of a queue."""

import time
from collections.abc import Iterable
from typing import Any, Self

import redis
from dramatiq import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed

from shared.lanes.exchange import ClaimExchange
from shared.lanes.message import LaneMessage
from shared.redis import is_transient

STOPPING_POLL_S = 0.05
REGISTER_EVERY_S = 12.0
"""How often a process says how many threads it has, busy or idle: for watchdog and pulse, too."""


class LaneConsumer(Consumer):
    """Messages of one queue: claimed for free threads while more are ready, else after the bell.

    `timeout_s`: how long `next` waits before it returns None, if nothing wakes it.
    """

    def __init__(self, exchange: ClaimExchange, prefetch: int, timeout_s: float) -> None:
        self._exchange = exchange
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._registered_s = -REGISTER_EVERY_S

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MessageProxy | None:
        exchange = self._exchange
        if exchange.capacity.stopping:
            time.sleep(min(self._timeout_s, STOPPING_POLL_S))
            return None
        try:
            self._register()
            if not exchange.ready and self._may_claim():
                exchange.claim(self._prefetch)
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None
        return exchange.ready.popleft() if exchange.ready else None

    def ack(self, message: MessageProxy) -> None:
        self._conclude(message)

    def nack(self, message: MessageProxy) -> None:
        self._conclude(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand back messages that no worker thread has begun."""
        try:
            self._exchange.hand_back(each for each in messages if isinstance(each, LaneMessage))
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None

    def close(self) -> None:
        """Hand back what is left when the process shuts down; the next consumer goes on with it."""
        if self._exchange.capacity.stopping:
            left = list(self._exchange.ready)
            self._exchange.ready.clear()
            self.requeue(left)
            try:
                self._exchange.register(0)
            except redis.RedisError as error:
                raise ConnectionClosed(error) from None

    def _may_claim(self) -> bool:
        """Wait for a free thread, then for the bell if nothing was ready the last time."""
        exchange = self._exchange
        if not exchange.capacity.wait_free(exchange.queue, self._timeout_s):
            return False
        if exchange.more:
            return True
        rung = exchange.await_bell(self._timeout_s)
        if rung and exchange.capacity.stopping:
            exchange.lanes.ring(exchange.queue)
            return False
        if rung:
            exchange.more = True
        return rung

    def _register(self) -> None:
        if time.monotonic() - self._registered_s >= REGISTER_EVERY_S:
            self._exchange.register(self._exchange.capacity.threads)
            self._registered_s = time.monotonic()

    def _conclude(self, message: Any) -> None:
        """Dramatiq calls it again after a ConnectionClosed, and logs any other error."""
        try:
            self._exchange.acknowledge(message)
        except redis.RedisError as error:
            if not is_transient(error):
                raise
            raise ConnectionClosed(error) from None

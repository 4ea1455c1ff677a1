"""Redis pub/sub to waiting requests: changes of integrations, as the recorder writes them.

The recorder publishes each organization's changes (shared/outbox.py). This process subscribes, on
a single connection, to the organizations that a request waits for at the moment. Delivery is best
effort: every waiting request also looks by itself every few seconds.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import redis
import redis.asyncio
import structlog

from shared.redis import keys
from workers.process import on_stop_signal

IDLE_S = 20.0
"""After this time without a message the connection is checked with a PING."""
RECONNECT_DELAY_S = 0.5
NUMBERS = b'"session"'
EVERYTHING = b""
"""What a change has to contain for a subscription."""

log = structlog.get_logger()


class Subscription:
    """A request that waits for changes of an organization."""

    def __init__(self, is_closing: Callable[[], bool], about: bytes) -> None:
        self._is_closing = is_closing
        self._about = about
        self._changed = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether this process is about to stop, so that the request has to end."""
        return self._is_closing()

    def notify(self, changes: bytes | None = None) -> None:
        """End the wait, if any of the changes is what it is for. None: changes may be lost."""
        if changes is None or self._about in changes:
            self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True after a change since the last call, False after the timeout."""
        try:
            await asyncio.wait_for(self._changed.wait(), max(0.0, timeout_s))
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Notifications:
    """The subscriptions of a process."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._subscriptions: dict[bytes, set[Subscription]] = {}
        self._pubsub: Any = None
        self._listener: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether this process is about to stop, so that waiting requests have to end."""
        return self._closing

    @contextlib.asynccontextmanager
    async def subscribe(
        self, organization_id: UUID, about: bytes = NUMBERS
    ) -> AsyncIterator[Subscription]:
        """Receive the changes of an organization's integrations while the block runs.

        With `about=EVERYTHING` those of messages as well.
        """
        channel = _channel(organization_id)
        subscription = Subscription(lambda: self._closing, about)
        first = channel not in self._subscriptions
        self._subscriptions.setdefault(channel, set()).add(subscription)
        try:
            await self._listen(channel if first else None)
            yield subscription
        finally:
            self._subscriptions[channel].discard(subscription)
            if not self._subscriptions[channel]:
                del self._subscriptions[channel]
                with contextlib.suppress(redis.RedisError, OSError):
                    await self._pubsub.unsubscribe(channel)

    async def publish(self, organization_id: UUID, integration_id: UUID) -> None:
        """Notify every process of a change that no outcome reports."""
        change = {
            "organization_id": str(organization_id),
            "integration_id": str(integration_id),
            "what": "session",
        }
        await self._client.publish(_channel(organization_id), json.dumps([change]))

    def stop(self) -> None:
        """Make every waiting request end, so that this process can stop."""
        self._closing = True
        self._notify_all()

    async def aclose(self) -> None:
        self.stop()
        if self._listener:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._pubsub:
            await self._pubsub.aclose()

    async def _listen(self, channel: bytes | None) -> None:
        if self._pubsub is None:
            self._pubsub = self._client.pubsub()
        if channel:
            # If Redis does not answer, the listener subscribes when it reconnects.
            with contextlib.suppress(redis.RedisError, OSError):
                await self._pubsub.subscribe(channel)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self._subscriptions:
            try:
                message = await self._pubsub.get_message(timeout=IDLE_S)
                if message is None:
                    await self._pubsub.ping()
                elif message["type"] == "message":
                    for subscription in self._subscriptions.get(message["channel"], ()):
                        subscription.notify(message["data"])
            except (redis.RedisError, OSError, RuntimeError) as error:
                log.warning("notifications.connection_lost", error=str(error))
                await self._reconnect()

    async def _reconnect(self) -> None:
        await asyncio.sleep(RECONNECT_DELAY_S)
        with contextlib.suppress(redis.RedisError, OSError, RuntimeError):
            await self._pubsub.aclose()
            self._pubsub = self._client.pubsub()
            if self._subscriptions:
                await self._pubsub.subscribe(*self._subscriptions)
        self._notify_all()  # changes published in between were lost

    def _notify_all(self) -> None:
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.notify()


def call_on_stop_signal(call: Callable[[], None]) -> None:
    """Call `call` in the running loop at SIGTERM and SIGINT, before the server drains requests."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    on_stop_signal(lambda: loop.call_soon_threadsafe(call), chain=True)


def _channel(organization_id: UUID) -> bytes:
    return keys.changes(organization_id).encode()

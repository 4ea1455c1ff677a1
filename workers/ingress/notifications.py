"""What has just changed in Supabase, told at once to the requests of this process that wait for it.

The recorder publishes each organization's changes (`shared/outbox.py`); this process listens on one connection, to
the organizations that somebody watches at the moment, and to nothing while nobody does. A message that is lost costs
a moment: whoever waits looks again by itself every few seconds.
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

QUIET_S = 20.0
"""After so long without a word the connection is asked whether it still is one."""
AFTER_FAILURE_S = 0.5

log = structlog.get_logger()


class Watch:
    """One request that waits for changes of an organization."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        self._closing = closing
        self._changed = asyncio.Event()

    @property
    def closing(self) -> bool:
        """This process is told to stop: end, the caller asks another one."""
        return self._closing()

    def tell(self) -> None:
        self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True when something has changed since the last wait, False after `timeout_s` without it."""
        try:
            await asyncio.wait_for(self._changed.wait(), max(0.0, timeout_s))
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Changes:
    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._watches: dict[bytes, set[Watch]] = {}
        self._pubsub: Any = None
        self._listener: asyncio.Task[None] | None = None
        self._closing = False

    @contextlib.asynccontextmanager
    async def of(self, organization_id: UUID) -> AsyncIterator[Watch]:
        """Watch an organization's numbers for as long as the block lasts."""
        channel, watch = _channel(organization_id), Watch(lambda: self._closing)
        first = channel not in self._watches
        self._watches.setdefault(channel, set()).add(watch)
        try:
            await self._listen(channel if first else None)
            yield watch
        finally:
            self._watches[channel].discard(watch)
            if not self._watches[channel]:
                del self._watches[channel]
                with contextlib.suppress(redis.RedisError, OSError):
                    await self._pubsub.unsubscribe(channel)

    async def announce(self, organization_id: UUID, integration_id: UUID) -> None:
        """Tell every process's watchers that a number has changed in a way that no outcome tells."""
        change = {
            "organization_id": str(organization_id),
            "integration_id": str(integration_id),
            "what": "session",
        }
        await self._client.publish(_channel(organization_id), json.dumps([change]))

    def stop(self) -> None:
        """Let everybody who waits go, so that this process can end."""
        self._closing = True
        self._tell_all()

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
            with contextlib.suppress(
                redis.RedisError, OSError
            ):  # the listener takes it up when Redis is back
                await self._pubsub.subscribe(channel)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self._watches:
            try:
                message = await self._pubsub.get_message(timeout=QUIET_S)
                if message is None:
                    await self._pubsub.ping()
                elif message["type"] == "message" and b'"session"' in message["data"]:
                    for watch in self._watches.get(message["channel"], ()):
                        watch.tell()
            except (redis.RedisError, OSError, RuntimeError) as error:
                log.warning("changes.not_heard", error=str(error))
                await self._begin_again()

    async def _begin_again(self) -> None:
        await asyncio.sleep(AFTER_FAILURE_S)
        with contextlib.suppress(redis.RedisError, OSError, RuntimeError):
            await self._pubsub.aclose()
            self._pubsub = self._client.pubsub()
            if self._watches:
                await self._pubsub.subscribe(*self._watches)
        self._tell_all()  # what was said meanwhile was not heard

    def _tell_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.tell()


def on_stop(tell: Callable[[], None]) -> None:
    """Call `tell` in the running loop when this process is told to stop, before the server waits for open answers."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    on_stop_signal(lambda: loop.call_soon_threadsafe(tell), chain=True)


def _channel(organization_id: UUID) -> bytes:
    return keys.changes(organization_id).encode()

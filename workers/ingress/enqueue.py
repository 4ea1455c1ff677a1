"""Appends in batches: concurrent requests share one round trip to Redis.

A request is answered after Redis confirmed its own event. If Redis does not confirm a batch, every
request of the batch gets the error.
"""

import asyncio
from collections import Counter
from typing import Any

import redis.asyncio
from redis.exceptions import NoScriptError

from shared.broker import load_scripts
from shared.lanes.client import Accepted, Append, Lanes
from shared.lanes.wakeups import wake_on

MAX_BATCH = 64
"""Events of one round trip: enough to use it well, few enough to keep Redis responsive."""
MAX_WAKEUPS = 4
"""Wake-ups of one batch per kind: a worker that is awake continues until no lane is ready."""


class BatchingProducer:
    """The async counterpart of shared.producer.Producer, for many concurrent requests."""

    def __init__(self, client: "redis.asyncio.Redis", lanes: Lanes) -> None:
        self._client = client
        self._lanes = lanes
        self._waiting: list[tuple[Append, asyncio.Future[Accepted]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, item: Append) -> Accepted:
        """Append one event to its lane; raises what `Lanes.append` raises."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def append_all(self, items: list[Append]) -> list[Accepted]:
        """Append several events; raises the first error, what `Lanes.append` raises."""
        if len(items) == 1:
            return [await self.append(items[0])]
        return list(await asyncio.gather(*(self.append(item) for item in items)))

    async def _flush(self) -> None:
        while self._waiting:
            batch = self._waiting[:MAX_BATCH]
            self._waiting = self._waiting[MAX_BATCH:]
            try:
                replies = await self._send([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - every request of the batch gets it
                replies = [error] * len(batch)
            for (item, future), reply in zip(batch, replies, strict=True):
                if not future.done():  # cancelled when the client disconnected
                    _resolve(future, item, reply)

    async def _send(self, items: list[Append]) -> list[Any]:
        try:
            return await self._pipelined(items)
        except NoScriptError:  # Redis was restarted and has lost its scripts
            await self._lanes.load(self._client)
            await load_scripts(self._client)
            return await self._pipelined(items)

    async def _pipelined(self, items: list[Append]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        self._lanes.append_all_on(pipe, items)
        for kind, count in Counter(item.kind for item in items).items():
            for _ in range(min(count, MAX_WAKEUPS)):
                wake_on(pipe, kind)
        appended, *woken = await pipe.execute(raise_on_error=False)
        for reply in (appended, *woken):
            if isinstance(reply, NoScriptError):
                raise reply
        if isinstance(appended, Exception):
            raise appended
        return list(appended)


def _resolve(future: "asyncio.Future[Accepted]", item: Append, reply: Any) -> None:
    if isinstance(reply, Exception):
        future.set_exception(reply)
        return
    try:
        future.set_result(Lanes.accepted(item, reply))
    except Exception as error:  # noqa: BLE001 - raised in the request
        future.set_exception(error)

"""Appends in batches: concurrent requests share a round trip to Redis.

A request is answered after Redis confirmed its own event. If Redis does not confirm a batch, every
request of the batch gets the error.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import redis.asyncio

from shared.lanes.acceptance import read_acceptance
from shared.lanes.client import Lanes
from shared.lanes.types import Accepted, Append

MAX_BATCH = 64
"""Events of a round trip: enough to use it well, few enough to keep Redis responsive."""


class BatchingProducer:
    """The async counterpart of shared.producer.Producer, for many concurrent requests."""

    def __init__(self, client: "redis.asyncio.Redis", lanes: Lanes) -> None:
        self._client = client
        self._lanes = lanes
        self._waiting: list[tuple[Append, asyncio.Future[Accepted]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, item: Append) -> Accepted:
        """Append an event to its lane; raises what `Lanes.append` raises."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def append_all(self, items: list[Append]) -> list[Accepted]:
        """Append several events; raises the first error, what `Lanes.append` raises.

        A long list is appended batch by batch, so that concurrent requests come in between.
        """
        if len(items) == 1:
            return [await self.append(items[0])]
        accepted: list[Accepted] = []
        for start in range(0, len(items), MAX_BATCH):
            batch = items[start : start + MAX_BATCH]
            accepted += await asyncio.gather(*(self.append(item) for item in batch))
        return accepted

    async def append_each(self, items: Sequence[Append]) -> list[Accepted | Exception]:
        """Append several events; return the reply to each, or the error that `append` raises.

        A long list is appended batch by batch, as by `append_all`.
        """
        replies: list[Accepted | Exception] = []
        for start in range(0, len(items), MAX_BATCH):
            batch = items[start : start + MAX_BATCH]
            found = await asyncio.gather(*map(self.append, batch), return_exceptions=True)
            replies += [reply for reply in found if isinstance(reply, Accepted | Exception)]
        return replies

    async def _flush(self) -> None:
        while self._waiting:
            batch = self._waiting[:MAX_BATCH]
            self._waiting = self._waiting[MAX_BATCH:]
            try:
                items = [item for item, _ in batch]
                replies = await self._lanes.append_async(self._client, items)
            except Exception as error:  # noqa: BLE001 - every request of the batch gets it
                replies = [error] * len(batch)
            for (item, future), reply in zip(batch, replies, strict=True):
                if not future.done():  # cancelled when the client disconnected
                    _resolve(future, item, reply)


def _resolve(future: "asyncio.Future[Accepted]", item: Append, reply: Any) -> None:
    if isinstance(reply, Exception):
        future.set_exception(reply)
        return
    try:
        future.set_result(read_acceptance(item, reply))
    except Exception as error:  # noqa: BLE001 - raised in the request
        future.set_exception(error)

"""Appends in groups: requests in flight at the same moment share one round trip to Redis.

Each is answered only after its own write was confirmed; when Redis does not confirm, each of the group is told so.
"""

import asyncio
from collections import Counter
from typing import Any

import redis.asyncio
from redis.exceptions import NoScriptError

from shared.broker import load_scripts
from shared.lanes.client import Accepted, Append, Lanes
from shared.lanes.wakeups import wake_on

GROUP = 64
"""The most appends of one round trip: enough to fill it, few enough not to hold Redis up."""
WAKE_UPS = 4
"""The most that one group sends of a kind: each worker that wakes goes on until nothing is ready."""


class GroupedAppends:
    def __init__(self, client: "redis.asyncio.Redis", lanes: Lanes) -> None:
        self._client = client
        self._lanes = lanes
        self._waiting: list[tuple[Append, asyncio.Future[Accepted]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, item: Append) -> Accepted:
        """Append one event, durably; raises as `Lanes.append` does."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def append_all(self, items: list[Append]) -> list[Accepted]:
        if len(items) == 1:
            return [await self.append(items[0])]
        return list(await asyncio.gather(*(self.append(item) for item in items)))

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            try:
                replies = await self._send([item for item, _ in group])
            except Exception as error:  # noqa: BLE001 - every one of the group has to hear it
                replies = [error] * len(group)
            for (item, future), reply in zip(group, replies, strict=True):
                if not future.done():  # its caller may have gone away
                    _answer(future, item, reply)

    async def _send(self, items: list[Append]) -> list[Any]:
        try:
            return await self._pipelined(items)
        except NoScriptError:  # Redis has been restarted: it knows scripts only by heart
            await self._lanes.load(self._client)
            await load_scripts(self._client)
            return await self._pipelined(items)

    async def _pipelined(self, items: list[Append]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        self._lanes.append_all_on(pipe, items)
        for kind, count in Counter(item.kind for item in items).items():
            for _ in range(min(count, WAKE_UPS)):
                wake_on(pipe, kind)
        appended, *woken = await pipe.execute(raise_on_error=False)
        for reply in (appended, *woken):
            if isinstance(reply, NoScriptError):
                raise reply
        if isinstance(appended, Exception):
            raise appended
        return list(appended)


def _answer(future: "asyncio.Future[Accepted]", item: Append, reply: Any) -> None:
    if isinstance(reply, Exception):
        future.set_exception(reply)
        return
    try:
        future.set_result(Lanes.accepted(item, reply))
    except Exception as error:  # noqa: BLE001 - handed on to the request that it belongs to
        future.set_exception(error)

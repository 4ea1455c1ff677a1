"""Reads in batches: concurrent requests share a round trip to Redis, as appends do (`enqueue`)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

MAX_NAMES = 500
"""Keys of a round trip, except of a single request: Redis reads them in a millisecond."""

Values = list[bytes | None]
Asked = tuple[Sequence[str], "asyncio.Future[Values]"]


class BatchingReader:
    """Reads values by their keys.

    A read goes to Redis after it was asked for: it sees all that was written before.
    """

    def __init__(self, fetch: Callable[[list[str]], Awaitable[Any]]) -> None:
        """Create it; `fetch` returns the value of each key in a round trip."""
        self._fetch = fetch
        self._waiting: deque[Asked] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def read(self, names: Sequence[str]) -> Values:
        """Return the value of each key, None where there is none; raises redis.RedisError."""
        future: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
        self._waiting.append((names, future))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await future

    async def _read_all(self) -> None:
        while self._waiting:
            batch = self._take_batch()
            names = list(dict.fromkeys(chain.from_iterable(asked for asked, _ in batch)))
            try:
                values: Any = await self._fetch(names)
            except Exception as error:  # noqa: BLE001 - every request of the batch gets it
                _fail(batch, error)
                continue
            found = dict(zip(names, values, strict=True))
            for asked, future in batch:
                if not future.done():  # cancelled when the client disconnected
                    future.set_result([found[name] for name in asked])

    def _take_batch(self) -> list[Asked]:
        batch = [self._waiting.popleft()]
        count = len(batch[0][0])
        while self._waiting and (count := count + len(self._waiting[0][0])) <= MAX_NAMES:
            batch.append(self._waiting.popleft())
        return batch


def _fail(batch: Sequence[Asked], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)

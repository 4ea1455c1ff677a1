"""The streams and held responses of a process: their bound, and the list that streams share."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from cachetools import TTLCache

from shared.errors import PipelineError

RETRY_AFTER_S = 10
MAX_LISTS = 10_000
LIST_TTL_S = 15.0


class TooManyStreamsError(PipelineError):
    """An organization, or the whole process, has as many open streams as it may."""

    code = "too_many_streams"
    retry_after_s = RETRY_AFTER_S


class OpenStreams:
    """Counts streams and held responses, which cost memory and reads for as long as they last."""

    def __init__(self, limit: int, limit_per_organization: int) -> None:
        self._limit = limit
        self._limit_per_organization = limit_per_organization
        self._open: Counter[UUID] = Counter()

    @contextmanager
    def open(self, organization_id: UUID) -> Iterator[None]:
        """Count a stream while the block runs.

        Raises:
            TooManyStreamsError: there is no room for another stream.
        """
        if self._open[organization_id] >= self._limit_per_organization:
            msg = (
                f"this organization has {self._limit_per_organization} open streams already: "
                "close one, or read GET /v1/integrations"
            )
            raise TooManyStreamsError(msg)
        if self._open.total() >= self._limit:
            msg = "this server has too many open streams: try again later"
            raise TooManyStreamsError(msg)
        self._open[organization_id] += 1
        try:
            yield
        finally:
            self._open[organization_id] -= 1
            if not self._open[organization_id]:
                del self._open[organization_id]


class SharedLists:
    """The list of each organization's integrations, read once for all streams that want it."""

    def __init__(self) -> None:
        self._running: dict[UUID, asyncio.Task[str]] = {}
        self._next: dict[UUID, asyncio.Task[str]] = {}
        self._latest: TTLCache[UUID, str] = TTLCache(MAX_LISTS, LIST_TTL_S)

    async def get(
        self, organization_id: UUID, read: Callable[[], Awaitable[str]], *, changed: bool
    ) -> str:
        """Return a list: after a change a list that is read from now on, else a recent list."""
        if not changed and (latest := self._latest.get(organization_id)):
            return latest
        task = self._next.get(organization_id)
        if task is None:
            task = asyncio.create_task(self._read_next(organization_id, read))
            self._next[organization_id] = task
        return await asyncio.shield(task)

    async def _read_next(self, organization_id: UUID, read: Callable[[], Awaitable[str]]) -> str:
        """Read after the read that is running, which may miss the change."""
        if running := self._running.get(organization_id):
            await asyncio.wait([running])
        task = self._running[organization_id] = self._next.pop(organization_id)
        try:
            found = await read()
        finally:
            if self._running.get(organization_id) is task:
                del self._running[organization_id]
        self._latest[organization_id] = found
        return found

"""The events of the organizations that have streams: read once for all streams of an organization.

A stream keeps its own position. The latest events stand in memory; a stream that lags behind them,
or resumes from before, reads pages from Supabase by itself, so that memory stays bounded.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database import Database
from shared.feed import FeedEvent, FeedPage

PAGE = 100
"""Events that a read returns at most."""
RECENT_EVENTS = 500
RECENT_CHARS = 2_000_000
"""What is kept in memory of an organization: so many events, of so many characters."""
MAX_READS = 4
"""Pages that are read at the same time for streams that lag, over all organizations."""

ReadPage = Callable[[UUID, int | None, int], Awaitable[FeedPage]]
"""Reads events of an organization after a position; without one, finds where they end."""


def read_by(database: Database) -> ReadPage:
    """Return a function that reads pages from Supabase, each in a thread."""

    async def read(organization_id: UUID, after: int | None, max_rows: int) -> FeedPage:
        if after is None:
            return await run_in_threadpool(database.feed.find_end, organization_id)
        return await run_in_threadpool(database.feed.read, organization_id, after, max_rows)

    return read


@dataclass
class OrganizationFeed:
    """The latest events of an organization: all those between the positions `first` and `last`."""

    organization_id: UUID
    read: ReadPage
    slots: asyncio.Semaphore
    first: int = -1
    last: int = -1
    streams: int = 0
    _recent: deque[FeedEvent] = field(default_factory=deque)
    _chars: int = 0
    _running: "asyncio.Task[None] | None" = None
    _next: "asyncio.Task[None] | None" = None

    async def find_end(self) -> int:
        """Return the position of the newest event; raises as `read_after`."""
        await self._update()
        return self.last

    async def read_after(self, position: int, *, changed: bool) -> FeedPage:
        """Return the next events after a position, and where they end.

        After a change they are read from now on; without a change those in memory are enough.

        Raises:
            PipelineError: Supabase does not answer.
        """
        if self.last < 0 or (changed and position >= self.first):
            await self._update()
        if position < self.first:
            async with self.slots:
                return await self.read(self.organization_id, position, PAGE)
        events = [event for event in self._recent if event.id > position]
        return FeedPage(events=events, last=self.last, floor=self.first, more=False)

    async def _update(self) -> None:
        """Read what is new, once for all who ask meanwhile, after a read that is under way."""
        if self._next is None:
            self._next = asyncio.create_task(self._update_next())
            self._next.add_done_callback(_mark_retrieved)
        await asyncio.shield(self._next)

    async def _update_next(self) -> None:
        if self._running:
            await asyncio.wait([self._running])
        self._running, self._next = self._next, None
        if self.last < 0:
            self.first = self.last = (await self.read(self.organization_id, None, 0)).last
        more = True
        while more:
            page = await self.read(self.organization_id, self.last, PAGE)
            self._add(page)
            more = page.more

    def _add(self, page: FeedPage) -> None:
        self._recent.extend(page.events)
        self._chars += sum(len(event.json_text) for event in page.events)
        self.last = page.last
        while len(self._recent) > RECENT_EVENTS or self._chars > RECENT_CHARS:
            oldest = self._recent.popleft()
            self._chars -= len(oldest.json_text)
            self.first = oldest.id


def _mark_retrieved(done: "asyncio.Task[None]") -> None:
    """Keep asyncio from logging an error for which no stream waits any more."""
    if not done.cancelled():
        done.exception()


class SharedFeeds:
    """The feeds of the organizations that have streams in this process."""

    def __init__(self, read: ReadPage) -> None:
        self._read = read
        self._feeds: dict[UUID, OrganizationFeed] = {}
        self._slots = asyncio.Semaphore(MAX_READS)

    @asynccontextmanager
    async def open(self, organization_id: UUID) -> AsyncIterator[OrganizationFeed]:
        """Return the feed of an organization, which lasts as long as any stream has it open."""
        feed = self._feeds.get(organization_id)
        if feed is None:
            feed = OrganizationFeed(organization_id, self._read, self._slots)
            self._feeds[organization_id] = feed
        feed.streams += 1
        try:
            yield feed
        finally:
            feed.streams -= 1
            if not feed.streams:
                del self._feeds[organization_id]

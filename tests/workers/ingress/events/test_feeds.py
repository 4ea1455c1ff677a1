"""The events of an organization in memory: shared reads, a bound, streams that lag."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from shared.errors import DatabaseUnavailableError
from shared.feed import FeedEvent, FeedPage
from workers.ingress.events import feeds
from workers.ingress.events.feeds import OrganizationFeed, SharedFeeds

ORGANIZATION = uuid4()


class Source:
    """Events of an organization, and how often they were read."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reads: list[int | None] = []
        self.is_away = False

    async def read(self, _organization: UUID, after: int | None, max_rows: int) -> FeedPage:
        self.reads.append(after)
        await asyncio.sleep(0)
        if self.is_away:
            msg = "away"
            raise DatabaseUnavailableError(msg)
        if after is None:
            return FeedPage(events=[], last=self.count, floor=0, more=False)
        ids = range(after + 1, min(self.count, after + max_rows) + 1)
        events = [
            FeedEvent(id=n, type="message.sent", timestamp=datetime.now(UTC), data={}) for n in ids
        ]
        last = ids[-1] if ids else after
        return FeedPage(events=events, last=last, floor=0, more=last < self.count)


def run(source: Source, story: Callable[[OrganizationFeed], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with SharedFeeds(source.read).open(ORGANIZATION) as feed:
            await story(feed)

    asyncio.run(whole())


async def read_all(feed: OrganizationFeed, position: int) -> list[int]:
    """Return the ids of all events after a position, as a stream reads them."""
    seen: list[int] = []
    changed = more = True
    while more:
        page = await feed.read_after(position, changed=changed)
        seen += [event.id for event in page.events]
        more, position = page.more or page.last < feed.last, page.last
    return seen


def test_streams_of_an_organization_share_a_read() -> None:
    """A hundred streams that are told of a change read once, after the read under way."""
    source = Source(5)

    async def story(feed: OrganizationFeed) -> None:
        assert await feed.find_end() == 5
        source.count = 7
        source.reads.clear()
        pages = await asyncio.gather(*(feed.read_after(5, changed=True) for _ in range(100)))
        assert {tuple(event.id for event in page.events) for page in pages} == {(6, 7)}
        assert len(source.reads) <= 2

    run(source, story)


def test_nothing_is_read_without_a_change() -> None:
    source = Source(5)

    async def story(feed: OrganizationFeed) -> None:
        end = await feed.find_end()
        source.reads.clear()
        assert (await feed.read_after(end, changed=False)).events == []
        assert source.reads == []

    run(source, story)


@pytest.mark.parametrize("position", [0, 3, 950, 999, 1000], ids=str)
def test_a_stream_resumes_from_anywhere_without_gap_or_double(position: int) -> None:
    """From before what is in memory, from within it, from its end."""
    source = Source(1000)

    async def story(feed: OrganizationFeed) -> None:
        await feed.find_end()
        source.count = 2500
        assert await read_all(feed, position) == list(range(position + 1, 2501))

    run(source, story)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that reads nothing for a long time costs no memory, and misses nothing."""
    monkeypatch.setattr(feeds, "RECENT_EVENTS", 10)
    source = Source(1)

    async def story(feed: OrganizationFeed) -> None:
        await feed.find_end()
        for count in range(2, 300):
            source.count = count
            await feed.find_end()
        assert feed.last - feed.first == 10
        assert await read_all(feed, 1) == list(range(2, 300))

    run(source, story)


def test_an_outage_is_told_to_every_stream_and_ends() -> None:
    source = Source(1)

    async def story(feed: OrganizationFeed) -> None:
        await feed.find_end()
        source.is_away = True
        reads = [feed.read_after(1, changed=True) for _ in range(3)]
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(each, DatabaseUnavailableError) for each in results)
        source.is_away, source.count = False, 2
        assert await read_all(feed, 1) == [2]

    run(source, story)


def test_a_feed_lasts_as_long_as_its_streams() -> None:
    async def story() -> None:
        shared = SharedFeeds(Source(0).read)
        async with shared.open(ORGANIZATION) as first, shared.open(ORGANIZATION) as second:
            assert first is second
        async with shared.open(ORGANIZATION) as third:
            assert third is not first

    asyncio.run(story())

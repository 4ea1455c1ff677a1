"""The bound of streams, and the list that they share."""

import asyncio
from uuid import uuid4

import pytest

from workers.ingress.integrations.open_streams import OpenStreams, SharedLists, TooManyStreamsError

ONE, OTHER = uuid4(), uuid4()


def test_streams_are_counted_while_they_are_open() -> None:
    """Per organization, and all together."""
    streams = OpenStreams(limit=3, limit_per_organization=2)
    for _ in range(2):
        with streams.open(ONE), streams.open(ONE), streams.open(OTHER):
            with pytest.raises(TooManyStreamsError, match="organization"):
                streams.open(ONE).__enter__()
            with pytest.raises(TooManyStreamsError, match="server"):
                streams.open(OTHER).__enter__()


class Reads:
    """Counts reads, each of which takes a moment."""

    def __init__(self) -> None:
        self.begun = 0

    async def read(self) -> str:
        self.begun += 1
        number = self.begun
        await asyncio.sleep(0.02)
        return f"list {number}"


def test_streams_that_wait_for_a_change_share_a_read() -> None:
    """A read that began before the change does not count; a poll takes the latest list."""

    async def story() -> None:
        reads, lists = Reads(), SharedLists()
        first = [asyncio.create_task(lists.get(ONE, reads.read, changed=True)) for _ in range(100)]
        await asyncio.sleep(0.01)
        second = [asyncio.create_task(lists.get(ONE, reads.read, changed=True)) for _ in range(100)]
        assert set(await asyncio.gather(*first)) == {"list 1"}
        assert set(await asyncio.gather(*second)) == {"list 2"}
        assert await lists.get(ONE, reads.read, changed=False) == "list 2"
        assert await lists.get(OTHER, reads.read, changed=False) == "list 3"

    asyncio.run(story())


def test_a_failed_read_is_not_kept() -> None:
    """Each waiting stream gets the error; the next one reads again."""

    async def fail() -> str:
        raise LookupError

    async def story() -> None:
        lists = SharedLists()
        with pytest.raises(LookupError):
            await lists.get(ONE, fail, changed=True)
        assert await lists.get(ONE, Reads().read, changed=True) == "list 1"

    asyncio.run(story())

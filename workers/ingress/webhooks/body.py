"""The body of a webhook, read as it comes: no more of it than we take, for no longer than we wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope

from shared.settings import IngressSettings

BIG = 1 << 20
"""Bytes. Only some bodies longer than this are read at the same time, so that they don't fill the memory."""


class TooLargeError(Exception):
    """More than we take."""

    def __init__(self, limit: int, beside: str = "") -> None:
        super().__init__(f"a body may have {limit} bytes{beside}")


class StalledError(Exception):
    """The body does not come, or too slowly."""


class GoneAwayError(Exception):
    """Nobody waits for an answer any more."""


class Incoming:
    """One body on its way in. Made when its request begins: from then on its time runs."""

    def __init__(self, scope: Scope, receive: Receive, door: IngressSettings) -> None:
        """Refuse at once what says that it is too large, with TooLargeError."""
        self._receive, self._limit, self._stall_s = (
            receive,
            door.wpp_body_limit,
            door.wpp_body_stall_s,
        )
        self._until = self._now() + door.wpp_body_deadline_s
        if _told_length(scope) > self._limit:
            raise TooLargeError(self._limit)

    async def piece(self) -> tuple[bytes, bool]:
        """Return what has come, and whether there is more.

        Raises:
            StalledError: nothing comes, or the whole takes too long.
            GoneAwayError: the sender has hung up.
        """
        try:
            async with asyncio.timeout(min(self._stall_s, self._until - self._now())):
                message = await self._receive()
        except TimeoutError:
            raise StalledError from None
        if message["type"] == "http.disconnect":
            raise GoneAwayError
        return message.get("body", b""), message.get("more_body", False)

    @asynccontextmanager
    async def whole(
        self, start: bytes, slots: asyncio.Semaphore, *, more: bool
    ) -> AsyncIterator[bytearray]:
        """Read the rest; a big body keeps one of the `slots` until it is done with. Raises as `piece` does."""
        body, big = bytearray(start), False
        try:
            while True:
                if len(body) > self._limit:
                    raise TooLargeError(self._limit)
                if len(body) > BIG and not big:
                    big = await self._slot(slots)
                if not more:
                    break
                piece, more = await self.piece()
                body += piece
            yield body
        finally:
            if big:
                slots.release()

    async def _slot(self, slots: asyncio.Semaphore) -> bool:
        """Wait for a turn. The sender is not to blame for that time."""
        began = self._now()
        await slots.acquire()
        self._until += self._now() - began
        return True

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _told_length(scope: Scope) -> int:
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(told[:20]) if told.isdigit() else 0

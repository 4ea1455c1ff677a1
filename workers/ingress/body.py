"""Read the body of a webhook with limits on its size, its duration and its pauses."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Receive, Scope

from shared.errors import PipelineError
from shared.settings import IngressSettings

LARGE_BODY = 1 << 20
"""Bytes. Only some bodies longer than this are read at the same time, to bound the memory."""


WHOLE = "wpp.whole"
"""The key of an ASGI scope that is true once all of the body has arrived."""


class BodyTooLargeError(PipelineError):
    """The body exceeds a limit."""

    code = "too_large"

    def __init__(self, limit: int, scope: str = "") -> None:
        super().__init__(f"A body may have at most {limit} bytes{scope}.")


class BodyTimeoutError(PipelineError):
    """The body stalls, or takes too long as a whole."""

    code = "stalled"

    def __init__(self) -> None:
        super().__init__("The body did not arrive in time.")


class DisconnectedError(Exception):
    """The sender closed the connection, so no response can reach it."""


class BodyReader:
    """Reads a body of at most `limit` bytes. The deadline runs from the construction on."""

    def __init__(self, scope: Scope, receive: Receive, limits: IngressSettings, limit: int) -> None:
        """Raise BodyTooLargeError at once if the Content-Length exceeds the limit."""
        self._scope = scope
        self._receive = receive
        self._limit = limit
        self._stall_s = limits.wpp_body_stall_s
        self._deadline = math.inf if scope.get(WHOLE) else self._now() + limits.wpp_body_deadline_s
        if _content_length(scope) > self._limit:
            raise BodyTooLargeError(self._limit)

    async def read_chunk(self) -> tuple[bytes, bool]:
        """Return the next chunk, and whether there are more.

        Raises:
            BodyTimeoutError: the sender is too slow.
            DisconnectedError: the sender closed the connection.
        """
        if self._scope.get(WHOLE):  # most bodies come with their head: they need no timer
            message = await self._receive()
        else:
            message = await self._receive_in_time()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        return message.get("body", b""), message.get("more_body", False)

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout(min(self._stall_s, self._deadline - self._now())):
                return await self._receive()
        except TimeoutError:
            raise BodyTimeoutError from None

    async def read_all(self) -> bytes:
        """Return the whole body; for small limits.

        Raises:
            BodyTooLargeError: the body exceeds the limit.
            BodyTimeoutError: the sender is too slow.
            DisconnectedError: the sender closed the connection.
        """
        chunk, more = await self.read_chunk()
        body = bytearray(chunk)
        while more and len(body) <= self._limit:
            chunk, more = await self.read_chunk()
            body += chunk
        if len(body) > self._limit:
            raise BodyTooLargeError(self._limit)
        return bytes(body)

    @asynccontextmanager
    async def read_rest(
        self, start: bytes, slots: asyncio.Semaphore, *, more: bool
    ) -> AsyncIterator[bytearray]:
        """Yield the whole body; a large body holds a slot until the block ends.

        Raises:
            BodyTooLargeError: the body exceeds the limit.
            BodyTimeoutError: the sender is too slow.
            DisconnectedError: the sender closed the connection.
        """
        body = bytearray(start)
        large = False
        try:
            while True:
                if len(body) > self._limit:
                    raise BodyTooLargeError(self._limit)
                if len(body) > LARGE_BODY and not large:
                    large = await self._acquire(slots)
                if not more:
                    break
                chunk, more = await self.read_chunk()
                body += chunk
            yield body
        finally:
            if large:
                slots.release()

    async def _acquire(self, slots: asyncio.Semaphore) -> bool:
        """Acquire a slot; the time that this takes does not count against the deadline."""
        started = self._now()
        await slots.acquire()
        self._deadline += self._now() - started
        return True

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _content_length(scope: Scope) -> int:
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value[:20]) if value.isdigit() else 0

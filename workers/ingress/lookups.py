"""Cached look-ups of bearer tokens.

Anyone can send tokens, and each look-up is a call to Supabase of up to 15 s. So each answer is
cached for a while, requests with the same token share a look-up, and the number of concurrent
look-ups is limited.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import TTLCache
from fastapi.concurrency import run_in_threadpool

from shared.errors import OverloadedError

NEGATIVE_TTL_S = 10.0
"""How long a token that was refused stays refused without another look-up."""
MAX_LOOKUPS = 8
"""Concurrent look-ups of unknown tokens. All requests share the 40 threads of the thread pool."""
MAX_KNOWN_LOOKUPS = 4
"""Concurrent look-ups of tokens that were valid in the last hour: strangers do not delay them."""
MAX_WAIT_S = 5.0
"""How long a request waits for a free look-up."""
MAX_ENTRIES = 10_000
RECOGNIZED_S = 3600.0

Found = TypeVar("Found")


class LookupCache(Generic[Found]):
    """Calls `lookup(token)`, which blocks; it returns what a token stands for, or None.

    A token that was found is known for `positive_ttl_s` without another look-up.
    """

    def __init__(
        self,
        lookup: Callable[[str], Found | None],
        positive_ttl_s: float,
        *,
        negative_ttl_s: float = NEGATIVE_TTL_S,
        max_wait_s: float = MAX_WAIT_S,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._lookup = lookup
        self._max_wait_s = max_wait_s
        self._slots = asyncio.Semaphore(MAX_LOOKUPS)
        self._known_slots = asyncio.Semaphore(MAX_KNOWN_LOOKUPS)
        self._running: dict[bytes, asyncio.Task[Found | None]] = {}
        self._confirmed: TTLCache[bytes, Found] = TTLCache(max_entries, positive_ttl_s)
        self._refused: TTLCache[bytes, bool] = TTLCache(max_entries, negative_ttl_s)
        self._recognized: TTLCache[bytes, bool] = TTLCache(max_entries, RECOGNIZED_S)

    def knows(self, token: str) -> bool:
        """Return whether no look-up is needed, because the token was found lately."""
        return _digest(token) in self._confirmed

    def recall(self, token: str) -> Found | None:
        """Return what a token stands for if it was found lately, else None."""
        return self._confirmed.get(_digest(token))

    def recognizes(self, token: str) -> bool:
        """Return whether the token was found within the last hour: it is no stranger's guess."""
        return _digest(token) in self._recognized

    async def find(self, token: str) -> Found | None:
        """Return what a token stands for, or None if it is not valid.

        Raises:
            OverloadedError: no look-up became free in time.
            DatabaseUnavailableError: Supabase did not answer.
        """
        digest = _digest(token)
        if (found := self._confirmed.get(digest)) is not None:
            return found
        if digest in self._refused:
            return None
        task = self._running.get(digest)
        if task is None:
            task = self._running[digest] = asyncio.create_task(self._look_up(token, digest))
            task.add_done_callback(lambda done: self._finish(digest, done))
        return await asyncio.shield(task)  # a disconnected client must not cancel it for the rest

    async def _look_up(self, token: str, digest: bytes) -> Found | None:
        slots = self._known_slots if self.recognizes(token) else self._slots
        try:
            async with asyncio.timeout(self._max_wait_s):
                await slots.acquire()
        except TimeoutError:
            msg = "too many credentials are being verified at the moment; try again"
            raise OverloadedError(msg, retry_after_s=1) from None
        try:
            found = await run_in_threadpool(self._lookup, token)
        finally:
            slots.release()
        if found is None:
            self._refused[digest] = True
        else:
            self._confirmed[digest] = found
            self._recognized[digest] = True
        return found

    def _finish(self, digest: bytes, done: "asyncio.Task[Found | None]") -> None:
        del self._running[digest]
        if not done.cancelled():
            done.exception()  # marks it as retrieved: every request may have gone by now


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()

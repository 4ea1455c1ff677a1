"""Supabase sessions of people: which organization one is of, asked of Supabase as seldom as is safe.

A stranger may send any number of tokens, and each that looks like a session costs a call of up to 15 s. So what shows
by itself that it is none is refused at once, an answer counts for a while, and few calls run at the same moment.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.errors import OverloadedError

TRUSTED_S = 60.0
"""How long a session that Supabase has confirmed is taken without asking again."""
REFUSED_S = 10.0
"""How long one that it has refused is refused without asking again."""
AT_ONCE = 8
"""Calls at the same moment, of the forty threads that everybody shares."""
PATIENCE_S = 5.0
"""How long a caller waits for their turn."""
MOST = 10_000
LONGEST = 8_192

Digest = bytes
Kept = TypeVar("Kept")


class Sessions:
    """`ask(token)` returns the organization of a living session, or None; it blocks."""

    def __init__(self, ask: Callable[[str], UUID | None]) -> None:
        self._ask = ask
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._asking: dict[Digest, asyncio.Task[UUID | None]] = {}
        self._trusted: dict[Digest, tuple[float, UUID]] = {}
        self._refused: dict[Digest, float] = {}

    async def organization(self, token: str) -> UUID | None:
        """Return the organization that the person of this session is a member of, or None.

        Raises:
            OverloadedError: too many are asked about at the moment.
            DatabaseUnavailableError: Supabase does not answer.
        """
        left_s = expires_at(token) - time.time()
        if left_s <= 0:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        until, known = self._trusted.get(digest, (0.0, None))
        if time.monotonic() < until:
            return known
        if time.monotonic() < self._refused.get(digest, 0.0):
            return None
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = asyncio.create_task(self._look_up(token, digest, left_s))
            task.add_done_callback(lambda done: self._forget(digest, done))
        return await asyncio.shield(task)  # others may wait for the same answer

    async def _look_up(self, token: str, digest: Digest, left_s: float) -> UUID | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._turns.acquire()
        except TimeoutError:
            msg = "too many sessions are being looked up at the moment; try again"
            raise OverloadedError(msg, retry_after_s=1) from None
        try:
            found = await run_in_threadpool(self._ask, token)
        finally:
            self._turns.release()
        if found:
            _keep(self._trusted, digest, (time.monotonic() + min(TRUSTED_S, left_s), found))
        else:
            _keep(self._refused, digest, time.monotonic() + REFUSED_S)
        return found

    def _forget(self, digest: Digest, done: asyncio.Task[UUID | None]) -> None:
        del self._asking[digest]
        if not done.cancelled():
            done.exception()  # nobody may be left to hear it


def expires_at(token: str) -> float:
    """Return when a token ends by its own word, in s since 1970; 0 for what cannot be a person's session.

    Whether the word is true only Supabase can tell: the key that signs is its own.
    """
    parts = token.split(".")
    if len(parts) != 3 or len(token) > LONGEST or not token.isascii():
        return 0
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return 0
    if not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
        return 0
    ends = claims.get("exp")
    return float(ends) if isinstance(ends, int | float) and abs(ends) < 1e12 else 0


def _keep(kept: dict[Digest, Kept], digest: Digest, value: Kept) -> None:
    kept.pop(digest, None)
    if len(kept) >= MOST:
        del kept[next(iter(kept))]  # the oldest
    kept[digest] = value

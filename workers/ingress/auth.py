"""Supabase sessions: which user and organization an access token stands for, cached.

Anyone can send tokens, and each look-up is a call to Supabase of up to 15 s. So a token that cannot
be a session, or that Supabase has not signed, is rejected without a call, each answer is cached for
a while, requests with the same token share a look-up, and the number of concurrent look-ups is
limited.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import jwt
from cachetools import TTLCache
from fastapi.concurrency import run_in_threadpool

from shared.errors import OverloadedError
from workers.ingress.token_verifier import TokenVerifier

NEGATIVE_TTL_S = 10.0
"""How long a token that Supabase refused stays refused without another look-up."""
MAX_LOOKUPS = 8
"""Concurrent look-ups. They share the 40 threads of the thread pool with all requests."""
MAX_WAIT_S = 5.0
"""How long a request waits for a free look-up."""
MAX_ENTRIES = 10_000
MAX_TOKEN_LENGTH = 8_192


@dataclass(frozen=True)
class Claims:
    """What a token says about itself. `expires_s`: in s since 1970."""

    user_id: str
    expires_s: float


@dataclass(frozen=True)
class Session:
    """A session that Supabase has confirmed. `expires_s`: in s since 1970."""

    user_id: str
    organization_id: UUID
    expires_s: float


class SessionCache:
    """Cached look-ups. `lookup(token)` blocks; it returns the organization, or None if refused.

    A session that Supabase confirmed is valid for `positive_ttl_s` without another look-up.
    """

    def __init__(
        self,
        lookup: Callable[[str], UUID | None],
        positive_ttl_s: float,
        verifier: TokenVerifier | None = None,
        *,
        negative_ttl_s: float = NEGATIVE_TTL_S,
        max_wait_s: float = MAX_WAIT_S,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._lookup = lookup
        self._verifier = verifier
        self._max_wait_s = max_wait_s
        self._slots = asyncio.Semaphore(MAX_LOOKUPS)
        self._running: dict[bytes, asyncio.Task[UUID | None]] = {}
        self._confirmed: TTLCache[bytes, UUID] = TTLCache(max_entries, positive_ttl_s)
        self._refused: TTLCache[bytes, bool] = TTLCache(max_entries, negative_ttl_s)

    async def find_session(self, token: str) -> Session | None:
        """Return the session of a token, or None if the token is not valid.

        Raises:
            OverloadedError: no look-up became free in time.
            DatabaseUnavailableError: Supabase did not answer.
        """
        claims = read_claims(token)
        if claims is None or claims.expires_s <= time.time():
            return None
        if not self.knows(token) and await self._verify(token) is False:
            return None
        organization_id = await self._find_organization(token)
        if organization_id is None:
            return None
        return Session(claims.user_id, organization_id, claims.expires_s)

    def knows(self, token: str) -> bool:
        """Return whether no look-up is needed, because the session was confirmed lately."""
        return _digest(token) in self._confirmed

    async def is_genuine(self, token: str) -> bool:
        """Return whether a token is known to be Supabase's, before Supabase is asked."""
        return self.knows(token) or await self._verify(token) is True

    async def _verify(self, token: str) -> bool | None:
        return await self._verifier.verify(token) if self._verifier else None

    async def _find_organization(self, token: str) -> UUID | None:
        digest = _digest(token)
        if (organization_id := self._confirmed.get(digest)) is not None:
            return organization_id
        if digest in self._refused:
            return None
        task = self._running.get(digest)
        if task is None:
            task = self._running[digest] = asyncio.create_task(self._look_up(token, digest))
            task.add_done_callback(lambda done: self._finish(digest, done))
        return await asyncio.shield(task)  # a disconnected client must not cancel it for the rest

    async def _look_up(self, token: str, digest: bytes) -> UUID | None:
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._slots.acquire()
        except TimeoutError:
            msg = "too many sessions are being verified at the moment; try again"
            raise OverloadedError(msg, retry_after_s=1) from None
        try:
            organization_id = await run_in_threadpool(self._lookup, token)
        finally:
            self._slots.release()
        if organization_id:
            self._confirmed[digest] = organization_id
        else:
            self._refused[digest] = True
        return organization_id

    def _finish(self, digest: bytes, done: asyncio.Task[UUID | None]) -> None:
        del self._running[digest]
        if not done.cancelled():
            done.exception()  # marks it as retrieved: every request may have gone by now


def read_claims(token: str) -> Claims | None:
    """Return the claims of a token, or None if it cannot be a session.

    The signature is not verified: Supabase does that with its own key.
    """
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        return None
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "require": ["exp", "sub"]})
    except (jwt.InvalidTokenError, RecursionError):
        return None
    user_id, expires = claims["sub"], claims["exp"]
    if not isinstance(user_id, str) or not isinstance(expires, int | float) or abs(expires) >= 1e12:
        return None
    return Claims(user_id, float(expires))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()

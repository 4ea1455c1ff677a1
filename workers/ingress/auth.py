"""Supabase sessions: which user and organization an access token stands for, cached.

A token that cannot be a session, or that Supabase has not signed, is rejected without a call.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from workers.ingress.lookups import LookupCache
from workers.ingress.token_verifier import TokenVerifier

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
    """Sessions, looked up once in `positive_ttl_s`; `options` are those of `LookupCache`.

    `lookup(token)` blocks; it returns the organization, or None if Supabase refuses the token.
    """

    def __init__(
        self,
        lookup: Callable[[str], UUID | None],
        positive_ttl_s: float,
        verifier: TokenVerifier | None = None,
        **options: Any,
    ) -> None:
        self._organizations = LookupCache(lookup, positive_ttl_s, **options)
        self._verifier = verifier

    async def find_session(self, token: str) -> Session | None:
        """Return the session of a token, or None if the token is not valid.

        Raises:
            OverloadedError: no look-up became free in time.
            DatabaseUnavailableError: Supabase did not answer.
        """
        claims = read_claims(token)
        if claims is None or claims.expires_s <= time.time():
            return None
        if not self._organizations.knows(token) and await self._verify(token) is False:
            return None
        organization_id = await self._organizations.find(token)
        if organization_id is None:
            return None
        return Session(claims.user_id, organization_id, claims.expires_s)

    async def is_genuine(self, token: str) -> bool:
        """Return whether a token is known to be Supabase's, before Supabase is asked."""
        return self._organizations.recognizes(token) or await self._verify(token) is True

    async def _verify(self, token: str) -> bool | None:
        return await self._verifier.verify(token) if self._verifier else None


def read_claims(token: str) -> Claims | None:
    """Return the claims of a token, or None if it cannot be a session.

    The signature is not verified here: `TokenVerifier` and Supabase do that.
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

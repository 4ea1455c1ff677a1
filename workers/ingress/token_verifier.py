"""Access tokens of Supabase, verified here: signature, audience, issuer and role.

A token that Supabase has not signed is refused without a call to Supabase. Where no key is known
here (a project that signs with a secret, and no `SUPABASE_JWT_SECRET`), Supabase decides.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import structlog
from fastapi.concurrency import run_in_threadpool
from pydantic import SecretStr

from shared.errors import DatabaseError

AUDIENCE = ROLE = "authenticated"
ALGORITHMS = ("ES256", "RS256", "EdDSA")
"""Signatures with a private key; the project publishes the public keys."""
REQUIRED = ["exp", "sub", "aud", "iss", "role"]
LEEWAY_S = 60.0
"""How far the clock of Supabase may be ahead; an expired token is refused by `auth.read_claims`."""
REFRESH_S = 600.0
RETRY_S = 30.0
"""How long an unknown key, or an outage, causes no further request for the keys."""

log = structlog.get_logger()


class TokenVerifier:
    """Verifies with the keys of a project. `fetch_keys` blocks; it returns a JSON Web Key Set."""

    def __init__(
        self, fetch_keys: Callable[[], Mapping[str, Any]], issuer: str, secret: SecretStr | None
    ) -> None:
        self._issuer = issuer
        self._secret = secret
        self._keys = PublicKeys(fetch_keys)

    async def verify(self, token: str) -> bool | None:
        """Return whether Supabase signed a token for its users; None if that cannot be told."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, RecursionError):
            return False
        algorithm = header.get("alg")
        if algorithm == "HS256":
            if self._secret is None:
                return None
            return self._is_signed(token, self._secret.get_secret_value(), algorithm)
        if algorithm not in ALGORITHMS:
            return False
        found = await self._keys.find(header.get("kid"))
        if found is None:
            return False if self._keys.are_loaded else None
        return self._is_signed(token, found.key, found.algorithm_name)

    def _is_signed(self, token: str, key: Any, algorithm: str) -> bool:
        try:
            claims = jwt.decode(
                token,
                key,
                [algorithm],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": REQUIRED},
            )
        except (jwt.InvalidTokenError, RecursionError) as error:
            log.debug("session.refused", reason=str(error))
            return False
        return bool(claims["role"] == ROLE)


class PublicKeys:
    """The public keys of a project by their id, fetched when they are first needed."""

    def __init__(self, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._fetch = fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._loaded_s: float | None = None
        self._tried_s: float | None = None
        self._lock = asyncio.Lock()

    @property
    def are_loaded(self) -> bool:
        """Whether the keys were ever received; while Supabase is away, they stay in use."""
        return self._loaded_s is not None

    async def find(self, key_id: object) -> jwt.PyJWK | None:
        """Return a key; keys that are old, or lack this one, are fetched again first."""
        async with self._lock:
            now_s = time.monotonic()
            known = isinstance(key_id, str) and key_id in self._keys
            old = self._loaded_s is None or now_s - self._loaded_s > REFRESH_S
            rested = self._tried_s is None or now_s - self._tried_s > RETRY_S
            if rested and (old or not known):
                self._tried_s = now_s
                await self._load()
        return self._keys.get(str(key_id))

    async def _load(self) -> None:
        try:
            found = await run_in_threadpool(self._fetch)
            keys = {key.key_id: key for key in _read_keys(found) if key.key_id}
        except DatabaseError as error:
            log.warning("session.keys_unavailable", error=str(error))
            return
        self._keys, self._loaded_s = keys, time.monotonic()


def _read_keys(found: Mapping[str, Any]) -> list[jwt.PyJWK]:
    """Return the keys of a set, without those for signatures that are not accepted here."""
    keys = []
    for each in found.get("keys", ()):
        try:
            key = jwt.PyJWK(each)
        except (jwt.PyJWTError, TypeError, ValueError):
            continue
        if key.algorithm_name in ALGORITHMS:
            keys.append(key)
    return keys

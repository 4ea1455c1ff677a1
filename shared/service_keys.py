"""Service keys that are stored in Supabase: made, revoked and looked up by their hash.

A process remembers a key for half a minute. A copy of each key that is in use stands in Redis: it
answers while Supabase is away.
"""

import hashlib
import re
import secrets
from contextlib import suppress
from typing import Any

import redis

from shared.database import Database
from shared.database.models import ServiceKey
from shared.errors import DatabaseUnavailableError
from shared.redis import keys

PREFIX = "wpk_"
FORM = re.compile(r"wpk_[A-Za-z0-9_-]{43}")
ACTIONS = ("messages:read", "messages:write", "integrations:read", "integrations:write")
EVERYTHING = "*"
"""Allows every action, also those that a later version has."""
COPY_TTL_S = 7 * 86_400


def make_key() -> str:
    """Return a new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def is_service_key(token: str) -> bool:
    """Return whether a token has the form of a stored key; it may be any."""
    return FORM.fullmatch(token) is not None


def hash_service_key(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


class StoredKeys:
    """Looks keys up in Supabase, and in Redis while Supabase is away. Its methods block."""

    def __init__(self, database: Database, client: "redis.Redis") -> None:
        self._database = database
        self._client = client

    def find(self, key: str) -> ServiceKey | None:
        """Return what a key may do, or None if it is unknown or revoked.

        Raises:
            DatabaseUnavailableError: Supabase does not answer, and the key is not known here.
        """
        key_hash = hash_service_key(key)
        try:
            found = self._database.service_keys.use(key_hash)
        except DatabaseUnavailableError:
            if copy := self._find_copy(key_hash):
                return copy
            raise
        with suppress(redis.RedisError):
            if found:
                name = keys.service_key(key_hash)
                self._client.set(name, found.model_dump_json(), ex=COPY_TTL_S)
            else:
                forget_key(self._client, key_hash)
        return found

    def _find_copy(self, key_hash: str) -> ServiceKey | None:
        with suppress(redis.RedisError, ValueError):
            copy: Any = self._client.get(keys.service_key(key_hash))
            return ServiceKey.model_validate_json(copy) if copy else None
        return None


def forget_key(client: "redis.Redis", key_hash: str) -> None:
    """Delete the copy of a key that was revoked."""
    client.delete(keys.service_key(key_hash))

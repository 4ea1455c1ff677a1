"""Keys of services and of operators, stored in Supabase: made, revoked, looked up by their hash.

A process remembers a key for half a minute. A copy of each key that is in use stands in Redis: it
answers while Supabase is away.
"""

import hashlib
import math
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import redis

from shared.database import Database
from shared.database.models import OperatorKey, Row, ServiceKey
from shared.errors import DatabaseUnavailableError
from shared.http.deadline import within
from shared.redis import keys

PREFIX = "wpk_"
FORM = re.compile(r"wpk_[A-Za-z0-9_-]{43}")
OPERATOR_PREFIX = "wpo_"
OPERATOR_FORM = re.compile(r"wpo_[A-Za-z0-9_-]{43}")
ACTIONS = (
    "messages:read",
    "messages:write",
    "integrations:read",
    "integrations:write",
    "events:read",
    "pacing:read",
    "pacing:write",
    "callbacks:read",
    "callbacks:write",
)
EVERYTHING = "*"
"""Allows every action, also those that a later version has."""
COPY_TTL_S = 7 * 86_400
LOOKUP_DEADLINE_S = 2.0
"""How long Supabase may take for a key that has a copy."""
AWAY_S = 10.0
"""How long after a failed look-up copies are used without asking Supabase."""

KeyT = TypeVar("KeyT", bound=Row)


def make_key(prefix: str = PREFIX) -> str:
    """Return a new key: 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def is_service_key(token: str) -> bool:
    """Return whether a token has the form of a stored key; it may be any."""
    return FORM.fullmatch(token) is not None


def is_operator_key(text: str) -> bool:
    """Return whether a text has the form of an operator's key; it may be any."""
    return OPERATOR_FORM.fullmatch(text) is not None


def hash_service_key(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


class Keys(Generic[KeyT]):
    """Looks keys up in Supabase, and in Redis while Supabase is away. Its methods block.

    A Supabase that hangs delays one look-up of a key with a copy in `away_s`, not each of them.
    """

    def __init__(
        self,
        use: Callable[[str], KeyT | None],
        row: type[KeyT],
        name_copy: Callable[[str], str],
        client: "redis.Redis",
        away_s: float = AWAY_S,
    ) -> None:
        """Create it; `use` asks Supabase, `name_copy` names the copy in Redis, both by the hash."""
        self._use = use
        self._row = row
        self._name_copy = name_copy
        self._client = client
        self._away_s = away_s
        self._away_until_s = 0.0

    def find(self, key: str) -> KeyT | None:
        """Return what a key may do, or None if it is unknown or revoked.

        Raises:
            DatabaseUnavailableError: Supabase does not answer, and the key is not known here.
        """
        return self.find_by_hash(hash_service_key(key))

    def find_by_hash(self, key_hash: str) -> KeyT | None:
        """Do what `find` does."""
        copy = self._find_copy(key_hash)
        if copy and time.monotonic() < self._away_until_s:
            return copy
        try:
            with within(LOOKUP_DEADLINE_S if copy else math.inf):
                found = self._use(key_hash)
        except DatabaseUnavailableError:
            self._away_until_s = time.monotonic() + self._away_s
            if copy:
                return copy
            raise
        with suppress(redis.RedisError):
            name = self._name_copy(key_hash)
            if found:
                self._client.set(name, found.model_dump_json(), ex=COPY_TTL_S)
            else:
                self._client.delete(name)
        return found

    def is_in_use(self, key: str) -> bool:
        """Return whether Redis has a copy of a key; it may have been revoked since."""
        return self._find_copy(hash_service_key(key)) is not None

    def _find_copy(self, key_hash: str) -> KeyT | None:
        with suppress(redis.RedisError, ValueError):
            copy: Any = self._client.get(self._name_copy(key_hash))
            return self._row.model_validate_json(copy) if copy else None
        return None


class StoredKeys(Keys[ServiceKey]):
    """The keys of services."""

    def __init__(self, database: Database, client: "redis.Redis", away_s: float = AWAY_S) -> None:
        super().__init__(database.service_keys.use, ServiceKey, keys.service_key, client, away_s)


class StoredOperatorKeys(Keys[OperatorKey]):
    """The keys of operators."""

    def __init__(self, database: Database, client: "redis.Redis", away_s: float = AWAY_S) -> None:
        super().__init__(database.operator_keys.use, OperatorKey, keys.operator_key, client, away_s)


def forget_key(client: "redis.Redis", key_hash: str) -> None:
    """Delete the copies of a key that was revoked."""
    client.delete(keys.service_key(key_hash), keys.operator_key(key_hash))

"""Idempotency keys: the first request with a key and its result, so that a retry has no effect.

POST /v1/messages does without: there the key determines the id of the message
(shared/event_ids.py).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis.asyncio
from fastapi import Response

from shared.errors import IdempotencyConflictError
from shared.lanes.wire import fingerprint
from shared.redis import keys

TTL_S = 8 * 86_400
"""Longer than any client retries."""


@dataclass(frozen=True)
class StoredRequest:
    """What an idempotency key stands for. `replayed`: the key came with an earlier request."""

    values: Mapping[str, str]
    replayed: bool = False


class IdempotencyStore:
    """Every `request` is the JSON-able description of what the client asked for."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client

    async def lookup(
        self, organization_id: UUID, key: str | None, request: Mapping[str, Any]
    ) -> StoredRequest | None:
        """Return what a key stands for, or None if it is new or absent.

        Raises:
            IdempotencyConflictError: the key was used for a different request.
        """
        stored: Any = await self._client.get(_name(organization_id, key)) if key else None
        return _read(stored, request) if stored else None

    async def claim(
        self,
        organization_id: UUID,
        key: str | None,
        request: Mapping[str, Any],
        values: Mapping[str, str],
    ) -> StoredRequest:
        """Store `values` under a key unless a concurrent request was first; return what is stored.

        Raises:
            IdempotencyConflictError: the key was used for a different request.
        """
        if not key:
            return StoredRequest(values)
        pipe = self._client.pipeline(transaction=True)
        pipe.set(_name(organization_id, key), _write(request, values), nx=True, ex=TTL_S)
        pipe.get(_name(organization_id, key))
        replies: list[Any] = await pipe.execute()
        return StoredRequest(values) if replies[0] else _read(replies[1], request)

    async def update(
        self,
        organization_id: UUID,
        key: str | None,
        request: Mapping[str, Any],
        values: Mapping[str, str],
    ) -> None:
        """Replace the values of a key that `claim` stored."""
        if key:
            stored = _write(request, values)
            await self._client.set(_name(organization_id, key), stored, xx=True, keepttl=True)


def hash_key(key: str) -> str:
    """Return a key as a name of fixed length; clients may put any text into it."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def set_replayed_header(response: Response) -> None:
    """Mark a response as the repetition of an earlier response."""
    response.headers["Idempotent-Replayed"] = "true"


def _write(request: Mapping[str, Any], values: Mapping[str, str]) -> str:
    return json.dumps({"request": fingerprint(request), **values})


def _read(stored: bytes, request: Mapping[str, Any]) -> StoredRequest:
    values: dict[str, str] = json.loads(stored)
    if not values.pop("request").startswith(fingerprint(request)):
        raise IdempotencyConflictError
    return StoredRequest(values, replayed=True)


def _name(organization_id: UUID, key: str) -> str:
    return keys.idempotency_key(organization_id, hash_key(key))

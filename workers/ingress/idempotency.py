"""Idempotency keys: what each one asked for the first time, so that asking again has no second effect.

POST /v1/messages needs none of this: there the key is the message's id (shared/routing.py).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Response

from shared.errors import IdempotencyConflictError
from shared.lanes.client import PREFIX, fingerprint
from workers.ingress.deps import Doorway

REMEMBERED_S = 8 * 86_400
"""Longer than anybody goes on trying."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key with the same body has one effect, however often it is sent.",
    ),
]


@dataclass(frozen=True)
class Bound:
    """What a key stands for: `values` as they were bound. `again`: it was bound before this request."""

    values: Mapping[str, str] = field(default_factory=dict)
    again: bool = False


async def bound(
    organization_id: UUID, key: str | None, asked: Mapping[str, Any], here: Doorway
) -> Bound | None:
    """Return what a key stands for, or None when it is new, or there is none.

    Raises:
        IdempotencyConflictError: it stands for a different request.
    """
    stored: Any = await here.redis.get(_name(organization_id, key)) if key else None
    return _read(stored, asked) if stored else None


async def bind(
    organization_id: UUID,
    key: str | None,
    asked: Mapping[str, Any],
    values: Mapping[str, str],
    here: Doorway,
) -> Bound:
    """Bind a key to what was asked and to `values`; whoever was first decides. Raises as `bound` does."""
    if not key:
        return Bound(values)
    pipe = here.redis.pipeline(transaction=True)
    pipe.set(_name(organization_id, key), _write(asked, values), nx=True, ex=REMEMBERED_S)
    pipe.get(_name(organization_id, key))
    replies: list[Any] = await pipe.execute()
    return Bound(values) if replies[0] else _read(replies[1], asked)


async def rebind(
    organization_id: UUID,
    key: str | None,
    asked: Mapping[str, Any],
    values: Mapping[str, str],
    here: Doorway,
) -> None:
    """Note more of what came of a key's request."""
    if key:
        await here.redis.set(
            _name(organization_id, key), _write(asked, values), xx=True, keepttl=True
        )


def digest(key: str) -> str:
    """Return a key as a name of fixed length: callers may put anything into it."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def say_again(response: Response) -> None:
    """Tell the caller that this key has been here before."""
    response.headers["Idempotent-Replayed"] = "true"


def _write(asked: Mapping[str, Any], values: Mapping[str, str]) -> str:
    return json.dumps({"asked": fingerprint(asked), **values})


def _read(stored: bytes, asked: Mapping[str, Any]) -> Bound:
    values: dict[str, str] = json.loads(stored)
    if values.pop("asked") != fingerprint(asked):
        raise IdempotencyConflictError
    return Bound(values, again=True)


def _name(organization_id: UUID, key: str) -> str:
    return f"{PREFIX}key:{organization_id}:{digest(key)}"

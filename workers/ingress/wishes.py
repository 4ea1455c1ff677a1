"""What a request asks for, once: an idempotency key, or clicks within the same half minute, are one wish."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import redis
from fastapi.concurrency import run_in_threadpool

from shared import intake
from shared.database import Database
from shared.errors import IdempotencyConflictError
from shared.events import ProvisionEvent
from shared.lanes import PREFIX, Append, Lanes, fingerprint
from shared.wakeups import wake
from workers.ingress.state import Doorway

ONE_CLICK_S = 30
"""Clicks on the same number within this time are one connect: a double click, two tabs, an impatient person."""
REMEMBERED_S = 8 * 86_400


@dataclass(frozen=True)
class Wish:
    """Which number is meant, and the event that does it.

    `subject`: what clicks have in common that are one. `again`: this idempotency key has asked for it before.
    """

    integration_id: UUID
    event_id: UUID
    subject: str | None = None
    again: bool = False


async def remembered(organization_id: UUID, key: str | None, asked: Mapping[str, Any], here: Doorway) -> Wish | None:
    """Return what an idempotency key stood for the first time.

    Raises:
        IdempotencyConflictError: it stood for a different request.
    """
    stored: Any = await here.redis.get(_key(organization_id, key)) if key else None
    return _read(stored, asked) if stored else None


async def remember(organization_id: UUID, key: str | None, asked: Mapping[str, Any], wish: Wish, here: Doorway) -> Wish:
    """Bind an idempotency key to a wish; whoever was first decides. Raises as `remembered` does."""
    if not key:
        return wish
    told = {"asked": fingerprint(asked), "integration": str(wish.integration_id), "event": str(wish.event_id)}
    pipe = here.redis.pipeline(transaction=True)
    pipe.set(_key(organization_id, key), json.dumps(told), nx=True, ex=REMEMBERED_S)
    pipe.get(_key(organization_id, key))
    replies: list[Any] = await pipe.execute()
    return wish if replies[0] else _read(replies[1], asked)


async def once(subject: str, here: Doorway) -> UUID:
    """Return one fresh id per subject and `ONE_CLICK_S`, whoever asks."""
    pipe = here.redis.pipeline(transaction=True)
    pipe.set(_click(subject), str(uuid4()), nx=True, ex=ONE_CLICK_S)
    pipe.get(_click(subject))
    replies: list[Any] = await pipe.execute()
    return UUID(replies[1].decode())


async def after(subject: str, done: UUID, here: Doorway) -> UUID:
    """Return the id for clicks that come when the event of the last one is done: again one for all of them."""
    following = await once(f"{subject}:{done}", here)
    await here.redis.set(_click(subject), str(following), ex=ONE_CLICK_S)
    return following


async def forget_click(subject: str, here: Doorway) -> None:
    """Let the next click be a new one."""
    await here.redis.delete(_click(subject))


async def grant(event: ProvisionEvent, here: Doorway) -> bool:
    """Put a wish into its lane, once; one that has failed is tried again. False: it was done already."""
    item = replace(intake.provision(event), fingerprint=f"{event.organization_id}:{event.action}")
    accepted = await here.appends.append(item)
    if accepted.state == "failed":
        await run_in_threadpool(here.try_again, item)
    return accepted.new or accepted.state != "done"


def try_again(client: "redis.Redis", lanes: Lanes, database: Database, item: Append) -> None:
    """Put an event back into its lane that had failed, as the one who asked for it wants it once more."""
    lanes.replay(item)
    wake(client, item.kind)
    database.mark_replayed([item.event.id])


def _read(stored: bytes, asked: Mapping[str, Any]) -> Wish:
    told = json.loads(stored)
    if told["asked"] != fingerprint(asked):
        msg = "this Idempotency-Key was used for a different request; use a new key for a new request"
        raise IdempotencyConflictError(msg)
    return Wish(UUID(told["integration"]), UUID(told["event"]), again=True)


def _key(organization_id: UUID, key: str | None) -> str:
    digest = hashlib.sha256(str(key).encode(errors="surrogatepass")).hexdigest()
    return f"{PREFIX}wish:{organization_id}:{digest}"


def _click(subject: str) -> str:
    return f"{PREFIX}click:{subject}"

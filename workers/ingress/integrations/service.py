"""What a request asks for, once: an idempotency key, or clicks within the same half minute, are one wish."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID, uuid4

import redis
from fastapi.concurrency import run_in_threadpool

from shared import routing
from shared.database import Database
from shared.events import ProvisionEvent, utc_now
from shared.lanes import records
from shared.lanes.client import PREFIX, Append, Lanes
from shared.lanes.wakeups import wake
from workers.ingress import idempotency
from workers.ingress.deps import Doorway

ONE_CLICK_S = 30
"""Clicks on the same number within this time are one connect: a double click, two tabs, an impatient person."""
Action = Literal["connect", "watch"]


@dataclass(frozen=True)
class Wish:
    """Which number is meant, and the event that does it: none, where nothing was to be done.

    `subject`: what clicks have in common that are one. `again`: this idempotency key has asked for it before.
    """

    integration_id: UUID
    event_id: UUID | None
    subject: str | None = None
    action: Action = "connect"
    again: bool = False


async def remembered(
    organization_id: UUID, key: str | None, asked: Mapping[str, Any], here: Doorway
) -> Wish | None:
    """Return what an idempotency key stood for the first time; raises as `keys.bound` does."""
    found = await idempotency.bound(organization_id, key, asked, here)
    return _read(found) if found else None


async def remember(
    organization_id: UUID, key: str | None, asked: Mapping[str, Any], wish: Wish, here: Doorway
) -> Wish:
    """Bind an idempotency key to a wish; whoever was first decides. Raises as `keys.bound` does."""
    told = {"integration": str(wish.integration_id), "action": wish.action}
    if wish.event_id:
        told["event"] = str(wish.event_id)
    found = await idempotency.bind(organization_id, key, asked, told, here)
    return _read(found) if found.again else wish


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


async def is_granted(event: ProvisionEvent, here: Doorway) -> bool:
    """Tell whether an event has been accepted, whatever has become of it."""
    return bool(await here.redis.exists(records.record_key(event.id)))


async def grant(event: ProvisionEvent, here: Doorway) -> bool:
    """Put a wish into its lane, once; one that has failed is tried again. False: it was done already."""
    item = replace(
        routing.route_provision(event), fingerprint=f"{event.organization_id}:{event.action}"
    )
    accepted = await here.appends.append(item)
    if accepted.state == "failed":
        await run_in_threadpool(here.try_again, item)
    return accepted.new or accepted.state != "done"


def try_again(client: "redis.Redis", lanes: Lanes, database: Database, item: Append) -> None:
    """Put an event back into its lane that had failed, as the one who asked for it wants it once more."""
    before = utc_now()
    lanes.replay(item)
    wake(client, item.kind)
    database.dead_letters.mark_replayed([item.event.id], before)


def _read(found: idempotency.Bound) -> Wish:
    told = found.values
    event_id = UUID(told["event"]) if "event" in told else None
    action: Action = "watch" if told["action"] == "watch" else "connect"
    return Wish(UUID(told["integration"]), event_id, action=action, again=True)


def _click(subject: str) -> str:
    return f"{PREFIX}click:{subject}"

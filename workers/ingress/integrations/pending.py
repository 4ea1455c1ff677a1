"""What Redis knows of numbers before Supabase does: which are to be made, are being connected, or are not wanted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.events import ProvisionEvent
from shared.lanes import records
from shared.lanes.client import PREFIX
from shared.lanes.records import Record
from shared.redis import keys
from workers.ingress.deps import Doorway

KEPT_S = 86_400
RECORDED_S = 5.0
"""How long after its end what an event has found out may take to be in Supabase."""


async def expect(integration_id: UUID, organization_id: UUID, here: Doorway) -> None:
    """Remember that a number is to be made, so that it is listed before its row is there."""
    pipe = here.redis.pipeline(transaction=True)
    pipe.sadd(_coming_key(organization_id), str(integration_id))
    pipe.expire(_coming_key(organization_id), KEPT_S)
    await pipe.execute()


async def expected(organization_id: UUID, here: Doorway) -> list[UUID]:
    """Return the numbers that were to be made lately; some of them are there by now."""
    members: Any = await here.redis.smembers(_coming_key(organization_id))
    return sorted(UUID(member.decode()) for member in members)


async def dismiss(integration_id: UUID, organization_id: UUID, here: Doorway) -> None:
    """Remember that a number is not wanted any more, whatever still runs for it."""
    pipe = here.redis.pipeline(transaction=True)
    pipe.set(keys.removed(integration_id), 1, ex=KEPT_S)
    pipe.srem(_coming_key(organization_id), str(integration_id))
    await pipe.execute()


async def dismissed(ids: Sequence[UUID], here: Doorway) -> set[UUID]:
    """Return those that are not wanted any more."""
    if not ids:
        return set()
    marks: Any = await here.redis.mget([keys.removed(each) for each in ids])
    return {each for each, mark in zip(ids, marks, strict=True) if mark}


async def begin(event: ProvisionEvent, here: Doorway) -> None:
    """Remember that a number is being connected: what is known of it from before is out of date."""
    await here.redis.set(_doing_key(event.integration_id), str(event.id), ex=KEPT_S)


async def watch(event: ProvisionEvent, here: Doorway) -> None:
    """Remember that this watch over a number takes the place of the one before it."""
    await here.redis.set(keys.pairing(event.integration_id), str(event.id), ex=KEPT_S)


async def doing(integration_id: UUID, known_since: datetime | None, here: Doorway) -> Record | None:
    """Return the connect that makes what is recorded of a number since then out of date, or None."""
    found: Any = await here.redis.get(_doing_key(integration_id))
    accepted = await record(UUID(found.decode()), here) if found else None
    if accepted is None or (known_since and known_since > accepted.accepted):
        return None
    just_done = accepted.settled and datetime.now(UTC) - accepted.settled < timedelta(
        seconds=RECORDED_S
    )
    goes_on = accepted.state in {"queued", "claimed"} or (accepted.state == "done" and just_done)
    return accepted if goes_on else None


async def record(event_id: UUID, here: Doorway) -> Record | None:
    """Return what the ledger has of an event."""
    reply: Any = await here.redis.hmget(records.record_key(event_id), list(records.FIELDS))
    return records.parse_record(event_id, reply)


def _doing_key(integration_id: UUID) -> str:
    return f"{PREFIX}doing:{integration_id}"


def _coming_key(organization_id: UUID) -> str:
    return f"{PREFIX}coming:{organization_id}"

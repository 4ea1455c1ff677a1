"""What Redis knows about integrations before Supabase does.

Integrations that are requested, being connected or removed; and clicks, so that clicks on the same
button within `CLICK_TTL_S` share an event: a double click, two tabs, an impatient person.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from shared import routing
from shared.causes import PLATFORM_FAILS_NUMBER
from shared.events import ProvisionEvent
from shared.lanes import records
from shared.lanes.records import Record
from shared.redis import keys
from workers.ingress.deps import AppState

TTL_S = 86_400
CLICK_TTL_S = 30
RECORDING_S = 5.0
"""How long after the end of an event its outcome may take to reach Supabase."""


async def mark_connecting(event: ProvisionEvent, state: AppState) -> None:
    """Store that an event is about to connect an integration, or to poll for its scan.

    The status from before a connect is obsolete. A new integration is listed as pending until its
    row exists. A newer polling event replaces the polling event before it.
    """
    pipe = state.redis.pipeline(transaction=True)
    if event.id == event.integration_id:
        pending = keys.pending_integrations(event.organization_id)
        pipe.sadd(pending, str(event.integration_id))
        pipe.expire(pending, TTL_S)
    if event.action == "watch":
        pipe.set(keys.pairing(event.integration_id), str(event.id), ex=TTL_S)
    else:
        pipe.set(keys.connecting(event.integration_id), str(event.id), ex=TTL_S)
    await pipe.execute()


async def list_pending(organization_id: UUID, state: AppState) -> list[UUID]:
    """Return the integrations that were requested lately; some may have a row by now."""
    members: Any = await state.redis.smembers(keys.pending_integrations(organization_id))
    return sorted(UUID(member.decode()) for member in members)


async def mark_removed(integration_id: UUID, organization_id: UUID, state: AppState) -> None:
    """Store that the organization has disconnected an integration; running work for it ends."""
    pipe = state.redis.pipeline(transaction=True)
    pipe.set(keys.removed(integration_id), 1, ex=TTL_S)
    pipe.srem(keys.pending_integrations(organization_id), str(integration_id))
    await pipe.execute()


async def find_removed(ids: Sequence[UUID], state: AppState) -> set[UUID]:
    """Return those integrations that the organization has disconnected."""
    if not ids:
        return set()
    marks: Any = await state.redis.mget([keys.removed(each) for each in ids])
    return {each for each, mark in zip(ids, marks, strict=True) if mark}


async def find_outages(ids: Sequence[UUID], state: AppState) -> dict[UUID, datetime]:
    """Return since when the platform fails for integrations: their messages wait meanwhile."""
    if not ids:
        return {}
    gates = [routing.PLATFORM_GATE, *map(routing.integration_gate, ids)]
    pipe = state.redis.pipeline(transaction=False)
    pipe.hmget(keys.CLOSED_GATES, gates)
    pipe.mget([keys.gate(gate) for gate in gates])
    replies: list[Any] = await pipe.execute()
    since = [datetime.fromtimestamp(int(at) / 1000, UTC) if at else None for at in replies[0]]
    fails = [reason == PLATFORM_FAILS_NUMBER.encode() for reason in replies[1]]
    outages = {
        each: since[0] or (at if is_failing else None)
        for each, at, is_failing in zip(ids, since[1:], fails[1:], strict=True)
    }
    return {each: at for each, at in outages.items() if at}


async def active_connect(
    integration_id: UUID, status_at: datetime | None, state: AppState
) -> Record | None:
    """Return the connect that makes a status recorded at `status_at` obsolete, or None."""
    event_id: Any = await state.redis.get(keys.connecting(integration_id))
    record = await find_record(UUID(event_id.decode()), state) if event_id else None
    if record is None or (status_at and status_at > record.accepted):
        return None
    if record.state in {"queued", "claimed"}:
        return record
    recording = timedelta(seconds=RECORDING_S)
    just_done = record.settled and datetime.now(UTC) - record.settled < recording
    return record if record.state == "done" and just_done else None


async def find_record(event_id: UUID, state: AppState) -> Record | None:
    """Return the record of an event, or None if there is none."""
    reply: Any = await state.redis.hmget(keys.event(event_id), list(records.FIELDS))
    return records.parse_record(event_id, reply)


async def click_id(subject: str, state: AppState) -> UUID:
    """Return the event id that all clicks on a subject share for `CLICK_TTL_S`."""
    pipe = state.redis.pipeline(transaction=True)
    pipe.set(keys.click(subject), str(uuid4()), nx=True, ex=CLICK_TTL_S)
    pipe.get(keys.click(subject))
    replies: list[Any] = await pipe.execute()
    return UUID(replies[1].decode())


async def next_click_id(subject: str, done: UUID, state: AppState) -> UUID:
    """Return the event id that clicks share after the event `done` of earlier clicks has ended."""
    following = await click_id(f"{subject}:{done}", state)
    await state.redis.set(keys.click(subject), str(following), ex=CLICK_TTL_S)
    return following


async def clear_click(subject: str, state: AppState) -> None:
    """Let the next click start a new event."""
    await state.redis.delete(keys.click(subject))

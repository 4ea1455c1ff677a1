"""Wait until the platform has taken or refused what was just accepted."""

import asyncio
from typing import Any
from uuid import UUID

from shared.lanes import records
from shared.lanes.records import Record
from workers.ingress.deps import AppState
from workers.ingress.messages.schemas import MessageState

VERDICT_WAIT_S = 4.5
"""A page waits 5 s for its answer."""
FIRST_POLL_S = 0.03
POLL_S = 0.15


async def wait_for_verdict(
    message_id: UUID, state: AppState, wait_s: float = VERDICT_WAIT_S
) -> MessageState:
    """Return the status of an accepted message once it is settled, or after `wait_s` as it is."""
    record = await wait_for_record(message_id, state, wait_s)
    return (
        MessageState.from_record(record) if record else MessageState(id=message_id, status="queued")
    )


async def wait_for_record(
    event_id: UUID, state: AppState, wait_s: float = VERDICT_WAIT_S
) -> Record | None:
    """Return the record of an event once it is settled, or after `wait_s` as it is."""
    now_s = asyncio.get_running_loop().time
    until = now_s() + wait_s
    pause_s = FIRST_POLL_S
    while True:
        reply: Any = await state.redis.hmget(records.record_key(event_id), list(records.FIELDS))
        record = records.parse_record(event_id, reply)
        if record is None or record.settled or now_s() >= until:
            return record
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, POLL_S)

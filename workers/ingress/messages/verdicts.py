"""Wait until the platform has taken or refused what was just accepted."""

import asyncio
from typing import Any
from uuid import UUID

from shared.lanes import records
from shared.lanes.records import Record
from workers.ingress.deps import AppState
from workers.ingress.integrations.open_streams import TooManyStreamsError
from workers.ingress.messages.schemas import MessageState

VERDICT_WAIT_S = 4.5
"""A page waits 5 s for its answer."""
FIRST_POLL_S = 0.03
POLL_S = 0.15
LONG_WAIT = 20
"""A message that has waited for long is looked at less often: after 20 s once a second."""


async def wait_for_verdict(
    message_id: UUID, state: AppState, wait_s: float = VERDICT_WAIT_S
) -> MessageState:
    """Return the status of an accepted message once it is settled, or after `wait_s` as it is."""
    record = await wait_for_record(message_id, state, wait_s)
    return (
        MessageState.from_record(record) if record else MessageState(id=message_id, status="queued")
    )


async def hold_for_verdict(
    message_id: UUID, organization_id: UUID, wait_s: float, state: AppState
) -> tuple[MessageState | None, bool]:
    """Return the status of an accepted message once it is settled, else None after `wait_s`.

    Also returns whether the answer was held: not with too many open streams.
    """
    try:
        with state.open_streams.open(organization_id):
            record = await wait_for_record(message_id, state, wait_s)
    except TooManyStreamsError:
        return None, False
    if record is None or not record.settled:
        return None, True
    return MessageState.from_record(record), True


async def wait_for_record(
    event_id: UUID, state: AppState, wait_s: float = VERDICT_WAIT_S
) -> Record | None:
    """Return the record of an event once it is settled, or after `wait_s` as it is.

    A process that is about to stop waits no longer.
    """
    now_s = asyncio.get_running_loop().time
    began = now_s()
    until = began + wait_s
    pause_s = FIRST_POLL_S
    while True:
        reply: Any = await state.redis.hmget(records.record_key(event_id), list(records.FIELDS))
        record = records.parse_record(event_id, reply)
        is_over = now_s() >= until or state.notifications.closing
        if record is None or record.settled or is_over:
            return record
        await asyncio.sleep(min(pause_s, max(0.0, until - now_s())))
        pause_s = min(pause_s * 1.5, max(POLL_S, (now_s() - began) / LONG_WAIT))

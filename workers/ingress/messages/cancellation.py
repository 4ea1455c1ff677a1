"""Cancel a message that waits."""

from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.errors import NotFoundError, NotWaitingError
from shared.events import is_change
from shared.lanes import records
from workers.ingress.deps import AppState
from workers.ingress.messages import service
from workers.ingress.messages.schemas import MessageState
from workers.send.cancellation import CANCELLED, REFUSED, cancel_waiting


async def cancel_message(message_id: UUID, organization_id: UUID, state: AppState) -> MessageState:
    """Cancel a message that waits in its lane or for its date; return its status, `cancelled`.

    Cancelling it again changes nothing. Once this returns, the message is never sent.

    Raises:
        NotFoundError: the organization does not have the message.
        NotWaitingError: it is being sent, or has ended; its text says which.
        DatabaseError: only Supabase can know the message, and it did not answer.
    """
    reply: Any = await state.redis.hmget(records.record_key(message_id), list(records.FIELDS))
    record = records.parse_record(message_id, reply)
    if record and is_change(record.body or b""):
        msg = f"no message {message_id} in this organization"
        raise NotFoundError(msg)
    answer = "missing"
    if record:
        answer = await run_in_threadpool(cancel_waiting, record, str(organization_id), state.lanes)
    found = await service.get_state(message_id, organization_id, state)
    if found.status != CANCELLED:
        why = REFUSED.get(answer, f"its status is {found.status}")
        msg = f"cannot cancel message {message_id}: {why}"
        raise NotWaitingError(msg)
    return found

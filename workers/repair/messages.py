"""A message as an operator sees it: status, reason and timeline; take it back while it waits."""

from typing import Any
from uuid import UUID

import redis

from shared.database import Database
from shared.database.models import StoredMessage
from shared.errors import NotFoundError, NotWaitingError
from shared.lanes.client import Lanes
from shared.lanes.records import Record, find_record
from shared.timeline import build_timeline
from workers.send.cancellation import CANCELLED, REFUSED, cancel_waiting, is_message

WAITING = frozenset({"scheduled", "queued", "claimed"})


def read_message(message_id: UUID, client: "redis.Redis", database: Database) -> dict[str, Any]:
    """Return status, reason and timeline of a message.

    A message that waits has the reason of its record in Redis, any other that of its row.

    Raises:
        NotFoundError: neither Redis nor Supabase knows the message.
    """
    record = find_record(client, message_id)
    organization_id = database.messages.find_organization(str(message_id))
    row = database.messages.get(message_id, organization_id) if organization_id else None
    waits = record is not None and record.state in WAITING
    if row is None and not waits:
        raise _not_found(message_id)
    timeline = build_timeline(database.messages.list_history(message_id))
    is_cancelled = any(event.status == "cancelled" for event in timeline[-1:])
    has_reason = row is not None and row.status in {"failed", "unknown"}
    return {
        "id": message_id,
        "organization_id": organization_id or (record and record.tenant),
        "phone": record.lane.rpartition(":")[2]
        if record and record.lane
        else (row.metadata.get("phone") if row else None),
        "status": _find_status(record if waits else None, row, is_cancelled=is_cancelled),
        "reason": record.reason
        if record and waits
        else (row.metadata.get("error") if row and has_reason else None),
        "lane": record.lane if record and waits else None,
        "timeline": [event.model_dump(mode="json") for event in timeline],
    }


def cancel_message(message_id: UUID, client: "redis.Redis", lanes: Lanes) -> None:
    """Take back a message that waits; once this returns, it is never sent. Again is the same.

    Raises:
        NotFoundError: Redis does not know the message (any more).
        NotWaitingError: it is being sent, or has ended; its text says which.
    """
    record = find_record(client, message_id)
    if record is None or not is_message(record):
        raise _not_found(message_id)
    answer = cancel_waiting(record, record.tenant, lanes)
    if answer not in {"ok", "same"}:
        state = find_record(client, message_id) or record
        why = REFUSED.get(answer, f"its status is {state.state}")
        msg = f"cannot cancel message {message_id}: {why}"
        raise NotWaitingError(msg)


def _find_status(
    waiting: "Record | None", row: "StoredMessage | None", *, is_cancelled: bool
) -> str:
    """Return the status as the API has it; the row of a cancelled message is `failed`."""
    if waiting:
        return "scheduled" if waiting.state == "scheduled" else "queued"
    if row is None:
        return "queued"
    return CANCELLED if is_cancelled and row.status == "failed" else row.status


def _not_found(message_id: UUID) -> NotFoundError:
    return NotFoundError(f"no message {message_id}")

"""Messages: accept them, read their status and their history, resolve messages in doubt."""

from typing import Any, NamedTuple, cast
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database.models import StoredMessage
from shared.errors import DatabaseError, NotFoundError, NotUnknownError
from shared.events import Message
from shared.lanes import records
from shared.lanes.types import Accepted, Append
from shared.outcomes import MessageOutcome, Substitute
from shared.redis import keys
from shared.timeline import TimelineEvent, build_timeline
from workers.ingress.deps import AppState
from workers.ingress.idempotency import hash_key
from workers.ingress.messages.preparation import prepare_message
from workers.ingress.messages.schemas import (
    ROW_STATUS,
    AcceptedMessage,
    MessageResolution,
    MessageState,
    read_kind,
    read_substitutes,
)
from workers.send import in_doubt


class Sending(NamedTuple):
    """A message in its lane. `integration_id` sends it, as far as that is known."""

    accepted: Accepted
    item: Append
    integration_id: UUID | None

    @property
    def location(self) -> str:
        """The path of its status."""
        return f"/v1/messages/{self.accepted.id}"


async def accept_message(
    message: Message, organization_id: UUID, idempotency_key: str | None, state: AppState
) -> Sending:
    """Accept a message; raises what `prepare_message` and `BatchingProducer.append` raise."""
    prepared = await prepare_message(message, organization_id, idempotency_key, state)
    item = prepared.build_append()
    accepted = await state.producer.append(item)
    return Sending(accepted, item, prepared.integration_id)


async def describe_sending(
    sending: Sending, organization_id: UUID, state: AppState
) -> AcceptedMessage:
    """Return the answer to a request; that to a repeated one has the present status."""
    accepted = sending.accepted
    answer = AcceptedMessage(
        id=accepted.id,
        status="scheduled" if accepted.state == "scheduled" else "queued",
        integration_id=sending.integration_id,
        substitutes=await list_substitutes(sending.item, state),
    )
    if accepted.new:
        return answer
    present = await get_state(accepted.id, organization_id, state)
    changed = {"status": present.status, "integration_id": present.integration_id}
    return answer.model_copy(update=changed)


async def list_substitutes(item: Append, state: AppState) -> list[Substitute]:
    """Return what stands for a call that the platform lacks, as far as that is known."""
    if not item.outcomes:  # a text, whose row is JSON already
        return []
    outcome = cast("MessageOutcome", item.outcomes[0])
    found = list(outcome.metadata.get("substitutes", ()))
    if outcome.content == "location" and await state.redis.exists(keys.NO_LOCATION_ROUTE):
        found.append("map_link")
    return found


async def get_state(message_id: UUID, organization_id: UUID, state: AppState) -> MessageState:
    """Return the status of a message, from its record in Redis and its row in Supabase.

    Raises:
        NotFoundError: the organization does not have the message.
        DatabaseError: only Supabase can know the message, and it did not answer.
    """
    record = await _read_record(message_id, state)
    if record and (
        record.queue != "send" or record.tenant != str(organization_id) or record.state == "done"
    ):
        record = None
    found = MessageState.from_record(record) if record else None
    if record is None or record.settled:
        found = await _add_stored_status(message_id, organization_id, found, state)
    if found is None:
        msg = f"no message {message_id} in this organization"
        raise NotFoundError(msg)
    return found


async def _read_record(message_id: UUID, state: AppState) -> records.Record | None:
    reply: Any = await state.redis.hmget(records.record_key(message_id), list(records.FIELDS))
    return records.parse_record(message_id, reply)


async def _add_stored_status(
    message_id: UUID, organization_id: UUID, found: MessageState | None, state: AppState
) -> MessageState | None:
    """Add the status that webhooks have reported since; without Supabase, `found` is the answer."""
    try:
        row = await run_in_threadpool(state.database.messages.get, message_id, organization_id)
    except DatabaseError:
        if found is None:
            raise
        return found
    if row is None or row.status == "queued":  # the recorder may be a moment behind
        return found
    known = found or MessageState(id=message_id, status=row.status)
    integration_id = row.integration_id or known.integration_id
    code = await _find_code(row, known, state)
    return known.model_copy(
        update={
            "status": "cancelled" if code == "cancelled" else row.status,
            "reason": _read_reason(row),
            "code": code,
            "integration_id": integration_id,
            "kind": read_kind(row.metadata.get("content")),
            "substitutes": read_substitutes(row.metadata.get("substitutes")),
        }
    )


def _read_reason(row: StoredMessage) -> str | None:
    """Return why a message failed or is unknown, as its row says it."""
    reason = row.metadata.get("error")
    return reason if row.status in {"failed", "unknown"} and isinstance(reason, str) else None


async def _find_code(row: StoredMessage, known: MessageState, state: AppState) -> str | None:
    """Return how a message failed: its record has it, or else its history."""
    if row.status != "failed":
        return None
    if known.code:
        return known.code
    history = await run_in_threadpool(
        state.database.messages.list_history, row.id, row.organization_id
    )
    codes = [each.code for each in history if each.status == "failed" and each.code]
    return codes[-1] if codes else None


async def get_timeline(
    message_id: UUID, organization_id: UUID, state: AppState
) -> list[TimelineEvent]:
    """Return what happened to a message, the earliest first; raises what `get_state` raises."""
    history = await run_in_threadpool(
        state.database.messages.list_history, message_id, organization_id
    )
    if history:
        return build_timeline(history)
    current = await get_state(message_id, organization_id, state)  # not yet in Supabase
    if current.accepted_at is None:
        return []
    accepted = TimelineEvent(
        event="accepted", at=current.accepted_at, source="own", status="queued"
    )
    if current.settled_at is None:
        return [accepted]
    status = ROW_STATUS.get(current.status, current.status)
    ended = TimelineEvent(
        event=status,
        at=max(current.settled_at, current.accepted_at),
        source="own",
        status=status,
        error=current.reason,
        code=current.code,
    )
    return [accepted, ended]


async def resolve(
    message_id: UUID,
    resolution: MessageResolution,
    organization_id: UUID,
    idempotency_key: str | None,
    state: AppState,
) -> tuple[MessageState, bool]:
    """Resolve a message in doubt; return its status, and whether this repeats an earlier request.

    Raises:
        NotFoundError: the organization does not have the message.
        NotUnknownError: the status of the message is known, or its record is of another
            organization: users may write rows with any id.
        IdempotencyConflictError: the key was used for a different request.
    """
    current = await get_state(message_id, organization_id, state)
    request = {
        "route": "resolution",
        "message_id": str(message_id),
        "outcome": resolution.outcome,
    }
    stored = await state.idempotency.claim(organization_id, idempotency_key, request, {})
    by = hash_key(idempotency_key) if idempotency_key else None
    record = await _read_record(message_id, state)
    is_own = record is not None and record.tenant == str(organization_id)
    resolved = is_own and await run_in_threadpool(
        in_doubt.resolve_unknown,
        state.sync_redis,
        state.lanes,
        message_id,
        resolution.outcome,
        by,
    )
    if not resolved:
        msg = f"cannot resolve message {message_id}: its status is {current.status}, not unknown"
        if current.status == "unknown":
            msg = f"message {message_id} has been unknown for too long: it cannot be resolved here"
        raise NotUnknownError(msg)
    return await get_state(message_id, organization_id, state), stored.replayed

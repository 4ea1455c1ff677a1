"""A message with its timeline, and the messages of a conversation, for the page Search."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter

from shared.database import DeadLetterQuery
from shared.lanes.client import Lanes
from shared.stored_times import clamp_time
from workers.dead_letters import parse_uuid
from workers.ingress.console.access import OperatorDep
from workers.ingress.console.dead_letters import describe_letter
from workers.ingress.deps import StateDep
from workers.repair.messages import cancel_message, read_message

router = APIRouter(prefix="/console/data/messages", include_in_schema=False)

PAGE = 50


@router.get("")
def list_conversation(
    operator: OperatorDep, state: StateDep, organization_id: UUID, chat: str
) -> dict[str, Any]:
    """Return the latest messages of a conversation, the newest first."""
    del operator
    known = None if chat.endswith("@lid") else chat
    found = state.database.reading.list_messages(
        organization_id,
        {"chat": chat} | ({"phone": known} if known else {}),
        None,
        ascending=False,
        limit=PAGE,
    )
    names = state.database.repair.name_organizations([organization_id])
    items = [{**row, "created_at": clamp_time(row.get("created_at"))} for row in found]
    return {"organization": names.get(organization_id), "items": items}


@router.get("/{message_id}")
def show_message(message_id: UUID, operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Return a message with its timeline, and its dead letter if it has one.

    Raises:
        NotFoundError: neither Redis nor Supabase knows the message.
    """
    del operator
    found = read_message(message_id, state.clients.of_event(message_id), state.database)
    organization_id = parse_uuid(str(found["organization_id"]))
    names = state.database.repair.name_organizations([organization_id] if organization_id else [])
    letters = state.database.dead_letters.find(DeadLetterQuery(ids=[message_id], replayed=True))
    return {
        **found,
        "organization": names.get(organization_id) if organization_id else None,
        "letter": describe_letter(letters[0], names) if letters else None,
    }


@router.post("/{message_id}/cancel")
def cancel(message_id: UUID, operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Take back a message that waits.

    Raises:
        NotFoundError: Redis does not know the message (any more).
        NotWaitingError: it is being sent, or has ended.
    """
    del operator
    client = state.clients.of_event(message_id)
    cancel_message(message_id, client, Lanes(client, state.engine))
    return {"done": True, "text": "It is cancelled: it is never sent."}

"""The page Unknown: messages that may or may not have gone out, and how they are settled."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from workers.dead_letters import parse_uuid
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.repair.unknown import UnknownMessage, list_all_unknown
from workers.send import in_doubt

router = APIRouter(prefix="/console/data/unknown", include_in_schema=False)

MAX_SHOWN = 200
RESULTS = {
    "sent": "It is settled as sent.",
    "failed": "It is settled as failed.",
    "again": "It is in its queue again.",
}


class SettleMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcome: in_doubt.Resolution


@router.get("")
def list_messages(
    operator: OperatorDep, state: StateDep, organization_id: UUID | None = None
) -> dict[str, Any]:
    """Return messages of an organization, or of all, the oldest first, and their number."""
    del operator
    found = list_all_unknown(state.clients.by_name.values(), state.database, organization_id)
    shown = found[:MAX_SHOWN]
    tenants = (parse_uuid(message.record.tenant) for message in shown)
    names = state.database.repair.name_organizations(filter(None, tenants))
    return {"items": [_describe(each, names) for each in shown], "total": len(found)}


@router.post("/{message_id}/settle")
def settle_message(
    message_id: UUID, given: SettleMessage, operator: OperatorDep, state: StateDep
) -> dict[str, Any]:
    """Settle a message; where that was done before, say by which person."""
    client = state.clients.of_event(message_id)
    settled = in_doubt.resolve_unknown(
        client, Lanes(client, state.engine), message_id, given.outcome, operator=operator.name
    )
    if settled:
        return {"done": True, "text": RESULTS[given.outcome]}
    record = find_record(client, message_id)
    by = f", settled by {record.settled_by}" if record and record.settled_by else ""
    now = f"its status is {record.state}{by}" if record else "it has ended"
    return {"done": False, "text": f"Nothing was done: {now}."}


def _describe(message: UnknownMessage, names: dict[UUID, str]) -> dict[str, Any]:
    record = message.record
    organization_id = parse_uuid(record.tenant)
    return {
        "id": record.id,
        "organization_id": record.tenant,
        "organization": names.get(organization_id) if organization_id else None,
        "to": message.phone,
        "accepted": record.accepted,
        "since": record.settled,
        "attempts": record.attempts,
        "reason": record.reason,
        "perhaps": [
            {"ids": sorted(orphan.ids), "at": orphan.first_arrived} for orphan in message.perhaps
        ],
    }

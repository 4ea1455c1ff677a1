"""Everything the platform posts, read by pure functions: what arrived, and what Supabase is told of it.

The ingress takes a body apart (`split`) and puts each event in its lane (`describe`); a worker turns it into outcomes.
"""

from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

from shared.events import WebhookEvent
from shared.outcomes import EditOutcome, LogOutcome, MessageOutcome, Outcome
from shared.webhooks import message_ids, updates
from shared.webhooks.classify import Arrival, claimed_account, describe
from shared.webhooks.content import said
from shared.webhooks.participants import person
from shared.webhooks.payload import Shape, first, read, split
from shared.webhooks.redact import excerpt
from shared.webhooks.updates import Made
from shared.webhooks.vocabulary import ArrivalType, status

__all__ = ["Arrival", "claimed_account", "describe", "outcomes", "row_id", "split"]

_REPORTS: dict[ArrivalType, Callable[[Arrival, Shape], Made]] = {
    "status": updates.status,
    "sent": updates.sent,
    "dead": updates.dead,
    "revoke": updates.revoke,
    "edit": updates.edit,
    "reaction": updates.reaction,
    "qr": updates.qr,
    "connected": updates.session,
    "disconnected": updates.session,
}


def outcomes(arrival: Arrival, event: WebhookEvent) -> list[Outcome]:
    """Return what Supabase is told of an event, its log entry last; never raises."""
    made, became, error = _made(arrival, event)
    is_text = any(
        isinstance(each, EditOutcome) or getattr(each, "content", None) == "text" for each in made
    )
    log = LogOutcome(
        at=event.accepted_at,
        id=event.id,
        account=arrival.account,
        event_type=arrival.event_type,
        payload=excerpt(event.payload, is_text=is_text),
        became=became,
        error=error,
    )
    return [*made, log]


def row_id(account: str, wa_message_id: str) -> UUID:
    """Return the id of an arrived message's row: whatever event brings it, in whatever shape, it is one row."""
    return uuid5(NAMESPACE_URL, f"wpp:{account}:message:{wa_message_id}")


def _row_id(arrival: Arrival, event: WebhookEvent, shape: Shape, wa_message_id: str | None) -> UUID:
    """Return the id of a message's row: by its own id, else by its event's, else that of this very event.

    The time counts beside an event's id: the platform may count from 1 again when it restarts.
    """
    if wa_message_id:
        return row_id(arrival.account, wa_message_id)
    if shape.event_id:
        told = first(shape.fields, "timestamp", "t", "messageTimestamp") or shape.created
        return uuid5(NAMESPACE_URL, f"wpp:{arrival.account}:event:{shape.event_id}:{told}")
    return event.id


def _made(arrival: Arrival, event: WebhookEvent) -> tuple[list[Outcome], str, str | None]:
    if arrival.foreign:
        why = f"it came to the URL of {arrival.account} but names {arrival.foreign}"
        return [], "foreign_account", why
    shape = read(event.payload)
    if arrival.type in ("message", "echo"):
        return [_message(arrival, event, shape)], arrival.type, None
    if report := _REPORTS.get(arrival.type):
        return *report(arrival, shape), None
    return [], arrival.type, None


def _message(arrival: Arrival, event: WebhookEvent, shape: Shape) -> MessageOutcome:
    """Return the row of a message. Its file, if any, stays in the event: only its name and type are told here.

    Whoever hides their phone has no contact: the row has an empty `phone`, and the hidden id in its metadata.
    """
    content, named, own = said(shape), message_ids.of_message(shape), arrival.type == "echo"
    hidden = {"chat": arrival.hidden} if arrival.hidden else {}
    return MessageOutcome(
        at=arrival.at,
        id=_row_id(arrival, event, shape, named.whatsapp),
        account=arrival.account,
        outgoing=own,
        phone=arrival.peer or "",
        peer_name=None if own else person(shape.fields),
        content=content.content,
        text=content.text,
        file_name=content.file_name,
        file_type=content.file_type,
        media_state="pending" if content.file_name else "none",
        status=(status(shape.fields.get("ack")) or "sent") if own else "delivered",
        task_id=named.task,
        wa_message_id=named.whatsapp,
        metadata={**content.metadata, **hidden},
    )

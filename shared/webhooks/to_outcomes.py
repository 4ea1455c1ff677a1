"""Everything the platform posts, read by pure functions: what arrived, and what Supabase is told of it.

The ingress takes a body apart (`split`) and puts each event in its lane (`describe`); a worker turns it into outcomes.
"""

from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

from shared.events import WebhookEvent
from shared.outcomes import EditOutcome, LogOutcome, MessageOutcome, Outcome
from shared.webhooks import message_ids, updates
from shared.webhooks.classify import ClassifiedEvent
from shared.webhooks.content import read_content
from shared.webhooks.participants import find_sender_name
from shared.webhooks.payload import Payload, find_value, parse_payload
from shared.webhooks.redact import redact_payload
from shared.webhooks.updates import Interpretation
from shared.webhooks.vocabulary import EventType, parse_status

_REPORTS: dict[EventType, Callable[[ClassifiedEvent, Payload], Interpretation]] = {
    "status": updates.interpret_status,
    "sent": updates.interpret_sent,
    "dead": updates.interpret_dead,
    "revoke": updates.interpret_revocation,
    "edit": updates.interpret_edit,
    "reaction": updates.interpret_reaction,
    "qr": updates.interpret_qr,
    "connected": updates.interpret_session,
    "disconnected": updates.interpret_session,
}


def build_outcomes(arrival: ClassifiedEvent, event: WebhookEvent) -> list[Outcome]:
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
        payload=redact_payload(event.payload, is_text=is_text),
        became=became,
        error=error,
    )
    return [*made, log]


def make_row_id(account: str, wa_message_id: str) -> UUID:
    """Return the id of an arrived message's row: whatever event brings it, in whatever shape, it is one row."""
    return uuid5(NAMESPACE_URL, f"wpp:{account}:message:{wa_message_id}")


def _row_id(
    arrival: ClassifiedEvent, event: WebhookEvent, shape: Payload, wa_message_id: str | None
) -> UUID:
    """Return the id of a message's row: by its own id, else by its event's, else that of this very event.

    The time counts beside an event's id: the platform may count from 1 again when it restarts.
    """
    if wa_message_id:
        return make_row_id(arrival.account, wa_message_id)
    if shape.event_id:
        told = find_value(shape.fields, "timestamp", "t", "messageTimestamp") or shape.created
        return uuid5(NAMESPACE_URL, f"wpp:{arrival.account}:event:{shape.event_id}:{told}")
    return event.id


def _made(arrival: ClassifiedEvent, event: WebhookEvent) -> tuple[list[Outcome], str, str | None]:
    if arrival.foreign:
        why = f"it came to the URL of {arrival.account} but names {arrival.foreign}"
        return [], "foreign_account", why
    shape = parse_payload(event.payload)
    if arrival.type in ("message", "echo"):
        return [_message(arrival, event, shape)], arrival.type, None
    if report := _REPORTS.get(arrival.type):
        return *report(arrival, shape), None
    return [], arrival.type, None


def _message(arrival: ClassifiedEvent, event: WebhookEvent, shape: Payload) -> MessageOutcome:
    """Return the row of a message. Its file, if any, stays in the event: only its name and type are told here.

    Whoever hides their phone has no contact: the row has an empty `phone`, and the hidden id in its metadata.
    """
    content, named, own = (
        read_content(shape),
        message_ids.read_message_ids(shape),
        arrival.type == "echo",
    )
    hidden = {"chat": arrival.hidden} if arrival.hidden else {}
    return MessageOutcome(
        at=arrival.at,
        id=_row_id(arrival, event, shape, named.whatsapp),
        account=arrival.account,
        outgoing=own,
        phone=arrival.peer or "",
        peer_name=None if own else find_sender_name(shape.fields),
        content=content.content,
        text=content.text,
        file_name=content.file_name,
        file_type=content.file_type,
        media_state="pending" if content.file_name else "none",
        status=(parse_status(shape.fields.get("ack")) or "sent") if own else "delivered",
        task_id=named.task,
        wa_message_id=named.whatsapp,
        metadata={**content.metadata, **hidden},
    )

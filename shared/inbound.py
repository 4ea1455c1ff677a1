"""Everything the platform posts, read by pure functions: what arrived, and what Supabase is told of it.

The ingress takes a body apart (`split`) and puts each event in its lane (`describe`); a worker turns it into outcomes.
"""

from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

from shared.arrivals import Arrival, claimed_account, describe, named_ids
from shared.chats import is_own, person
from shared.contents import said, written
from shared.dialects import ArrivalType, status
from shared.events import WebhookEvent
from shared.excerpt import excerpt
from shared.outcomes import (
    EditOutcome,
    LogOutcome,
    MessageOutcome,
    Outcome,
    ReactionOutcome,
    SessionOutcome,
    Status,
    StatusOutcome,
)
from shared.shapes import Shape, first, members, read, split, text

__all__ = ["Arrival", "claimed_account", "describe", "outcomes", "row_id", "split"]

MAX_QR = 65_536
"""Characters. A pairing string has about 240, a picture of one a few thousand."""

Made = tuple[list[Outcome], str]
"""What Supabase is told, and in a word what became of the event."""


def outcomes(arrival: Arrival, event: WebhookEvent) -> list[Outcome]:
    """Return what Supabase is told of an event, its log entry last; never raises."""
    shape = read(event.payload)
    if arrival.foreign:
        made: list[Outcome] = []
        became, error = "foreign_account", f"it came to the URL of {arrival.account} but names {arrival.foreign}"
    else:
        made, became = _MAKERS.get(arrival.type, _nothing)(arrival, event, shape)
        error = None
    log = LogOutcome(
        at=event.accepted_at,
        id=event.id,
        account=arrival.account,
        event_type=arrival.event_type,
        payload=excerpt(event.payload),
        became=became,
        error=error,
    )
    return [*made, log]


def row_id(account: str, wa_message_id: str) -> UUID:
    """Return the id of an arrived message's row: whatever event brings it, in whatever shape, it is one row."""
    return uuid5(NAMESPACE_URL, f"wpp:{account}:message:{wa_message_id}")


def _message(arrival: Arrival, event: WebhookEvent, shape: Shape) -> Made:
    content, named, own = said(shape), named_ids(shape, arrival.type), arrival.type == "echo"
    message = MessageOutcome(
        at=arrival.at,
        id=row_id(arrival.account, named.whatsapp) if named.whatsapp else event.id,
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
        metadata=content.metadata,
    )
    return [message], arrival.type


def _status(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    """Return a status by its word, its ack's number, or what the event's own type says."""
    now = status(first(shape.fields, "status", "ack", "state"))
    if now is None:
        now = next((found for word in shape.words if (found := status(word))), None)
    return _now(arrival, shape, now)


def _sent(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    return _now(arrival, shape, "sent")


def _dead(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    return _now(arrival, shape, "failed")


def _revoke(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    return _now(arrival, shape, "deleted")


def _now(arrival: Arrival, shape: Shape, now: Status | None) -> Made:
    named = named_ids(shape, arrival.type)
    if now is None:
        return [], "unknown_status"
    if not named.every:
        return [], "no_ids"
    outcome = StatusOutcome(
        at=arrival.at,
        account=arrival.account,
        external_ids=list(named.every),
        task_id=named.task,
        wa_message_id=named.whatsapp,
        status=now,
        error=_reason(shape) or f"the platform gave it up ({arrival.event_type})" if now == "failed" else None,
    )
    return [outcome], f"{arrival.type}:{now}" if arrival.type == "status" else arrival.type


def _reaction(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    named, own = named_ids(shape, arrival.type), is_own(shape.fields)
    if not named.every:
        return [], "no_ids"
    if not (arrival.peer or own):
        return [], "no_peer"
    nested = members(shape.fields, "reaction")
    emoji = text(first(shape.fields, "emoji", "reactionText", "reaction", "text", "body")) or text(
        first(nested, "emoji", "text")
    )
    outcome = ReactionOutcome(
        at=arrival.at,
        account=arrival.account,
        external_ids=list(named.every),
        outgoing=own,
        phone=arrival.peer or "",
        emoji=emoji[:32] if emoji else None,
    )
    return [outcome], "reaction"


def _edit(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    named = named_ids(shape, arrival.type)
    new = written(shape.fields)
    if not (named.every and new):
        return [], "no_ids" if new else "no_text"
    edit = EditOutcome(at=arrival.at, account=arrival.account, external_ids=list(named.every), text=new)
    return [edit], "edit"


def _session(arrival: Arrival, _event: WebhookEvent, shape: Shape) -> Made:
    fields = shape.fields
    if arrival.type != "qr":
        state = SessionOutcome(
            at=arrival.at,
            account=arrival.account,
            status="connected" if arrival.type == "connected" else "disconnected",
            reason=_reason(shape) or arrival.event_type,
        )
        return [state], arrival.type
    code = text(first(fields, "qr", "qrCode", "qrcode", "urlcode", "base64", "code"))
    if not code or len(code) > MAX_QR:
        return [], "no_qr"
    return [
        SessionOutcome(at=arrival.at, account=arrival.account, status="qr_issued", qr=code, reason=arrival.event_type)
    ], "qr"


def _nothing(arrival: Arrival, _event: WebhookEvent, _shape: Shape) -> Made:
    return [], arrival.type


def _reason(shape: Shape) -> str | None:
    """Return why, in the platform's words."""
    for name in ("reason", "error", "errorMessage", "lastError", "message", "description"):
        value = shape.fields.get(name)
        if found := text(value) or text(first(members(shape.fields, name), "message", "reason", "code")):
            return found[:500]
    return None


_MAKERS: dict[ArrivalType, Callable[[Arrival, WebhookEvent, Shape], Made]] = {
    "message": _message,
    "echo": _message,
    "status": _status,
    "sent": _sent,
    "dead": _dead,
    "revoke": _revoke,
    "reaction": _reaction,
    "edit": _edit,
    "qr": _session,
    "connected": _session,
    "disconnected": _session,
}

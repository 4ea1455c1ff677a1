"""What the platform reports of messages and sessions that exist already, as outcomes.

Each function takes an arrival and its shape, and returns the outcomes and, in a word for the log, what became of it.
"""

from shared.outcomes import (
    EditOutcome,
    MessageStatus,
    Outcome,
    ReactionOutcome,
    SessionOutcome,
    StatusOutcome,
)
from shared.webhooks import message_ids
from shared.webhooks.classify import ClassifiedEvent
from shared.webhooks.content import read_edited_text
from shared.webhooks.participants import is_own
from shared.webhooks.payload import Payload, find_object, find_value, parse_text
from shared.webhooks.vocabulary import parse_status as known_status

MAX_QR = 65_536
"""Characters. A pairing string has about 240, a picture of one a few thousand."""

Interpretation = tuple[list[Outcome], str]


def interpret_status(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    """Read a status by its word, its ack's number, or what the event's own type says."""
    now = known_status(find_value(shape.fields, "status", "ack", "state"))
    if now is None and not shape.fields.get("status"):
        now = next((found for word in shape.words if (found := known_status(word))), None)
    return _now(arrival, shape, now)


def interpret_sent(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    """Read that a task went out; with it WhatsApp's id is learned, where it is told."""
    return _now(arrival, shape, "sent")


def interpret_dead(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    """Read that the platform gave a task up."""
    return _now(arrival, shape, "failed")


def interpret_revocation(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    """Read that a message was deleted for everyone: its row stays, as `deleted`."""
    named = message_ids.read_target_ids(shape)
    if not named.every:
        return [], "no_ids"
    gone = StatusOutcome(
        at=arrival.at, account=arrival.account, external_ids=list(named.every), status="deleted"
    )
    return [gone], "revoke"


def interpret_edit(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    named, new = message_ids.read_target_ids(shape), read_edited_text(shape.fields)
    if not (named.every and new):
        return [], "no_ids" if new else "no_text"
    edited = EditOutcome(
        at=arrival.at, account=arrival.account, external_ids=list(named.every), text=new
    )
    return [edited], "edit"


def interpret_reaction(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    """Read a reaction. Without an emoji it is taken back."""
    named, own = message_ids.read_target_ids(shape), is_own(shape.fields) is True
    if not named.every:
        return [], "no_ids"
    if not (arrival.peer or own):
        return [], "no_peer"
    nested = find_value(find_object(shape.fields, "reaction"), "emoji", "text")
    emoji = parse_text(
        find_value(shape.fields, "emoji", "reactionText", "reaction", "text", "body")
    ) or parse_text(nested)
    reacted = ReactionOutcome(
        at=arrival.at,
        account=arrival.account,
        external_ids=list(named.every),
        outgoing=own,
        phone=arrival.peer or "",
        emoji=emoji[:32] if emoji else None,
    )
    return [reacted], "reaction"


def interpret_session(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    connected = SessionOutcome(
        at=arrival.at,
        account=arrival.account,
        status="connected" if arrival.type == "connected" else "disconnected",
        reason=_reason(shape) or arrival.event_type,
    )
    return [connected], arrival.type


def interpret_qr(arrival: ClassifiedEvent, shape: Payload) -> Interpretation:
    code = parse_text(
        find_value(shape.fields, "qr", "qrCode", "qrcode", "urlcode", "base64", "code")
    )
    if not code or len(code) > MAX_QR:
        return [], "no_qr"
    issued = SessionOutcome(
        at=arrival.at,
        account=arrival.account,
        status="qr_issued",
        qr=code,
        reason=arrival.event_type,
    )
    return [issued], "qr"


def _now(arrival: ClassifiedEvent, shape: Payload, now: MessageStatus | None) -> Interpretation:
    """Return that each message which the event names is in status `now`."""
    about = message_ids.read_listed_ids(shape)
    if now is None or not about:
        return [], "unknown_status" if now is None else "no_ids"
    error = (
        _reason(shape) or f"the platform gave it up ({arrival.event_type})"
        if now == "failed"
        else None
    )
    return [
        StatusOutcome(
            at=arrival.at,
            account=arrival.account,
            external_ids=list(named.every),
            task_id=named.task,
            wa_message_id=named.whatsapp,
            status=now,
            error=error,
        )
        for named in about
    ], f"status:{now}" if arrival.type == "status" else arrival.type


def _reason(shape: Payload) -> str | None:
    """Return why, in the platform's words. A field named `message` may hold what was to be sent: it is left alone."""
    for name in ("reason", "error", "errorMessage", "lastError", "description"):
        value = shape.fields.get(name)
        if found := parse_text(value) or parse_text(
            find_value(find_object(shape.fields, name), "message", "reason", "code")
        ):
            return found[:500]
    return None

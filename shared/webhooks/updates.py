"""Interpret events about messages and sessions that exist already: statuses, edits, states."""

from dataclasses import replace
from typing import NamedTuple

from shared.outcomes import (
    EditOutcome,
    MessageStatus,
    Outcome,
    ReactionOutcome,
    SessionOutcome,
    StatusOutcome,
)
from shared.webhooks.classify import ClassifiedEvent
from shared.webhooks.content import read_edited_text
from shared.webhooks.fields import find_object, find_value, parse_text
from shared.webhooks.message_ids import (
    MessageIds,
    MessageTarget,
    describe_target,
    read_listed_ids,
    read_target,
)
from shared.webhooks.participants import is_own
from shared.webhooks.reasons import find_reason
from shared.webhooks.sessions import STATUS_OF_EVENT, explain_meaning, find_meaning
from shared.webhooks.vocabulary import parse_status

MAX_QR = 65_536
"""Characters. A pairing string has about 240, a picture of a QR code a few thousand."""
MAX_EMOJI = 32
_QR_FIELDS = ("qr", "qrCode", "qrcode", "urlcode", "base64", "code")
_CHAT_FIELDS = frozenset({"chatId", "remoteJid", "recipientId"})
_EMOJI_FIELDS = ("emoji", "reactionText", "reaction", "text", "body")


class Interpretation(NamedTuple):
    """The outcomes of an event, and the word by which the log says what it became."""

    outcomes: list[Outcome]
    became: str
    error: str | None = None


def interpret_status(event: ClassifiedEvent) -> Interpretation:
    """Read a status from its word, from the number of an ack, or from the event's type."""
    payload = event.payload
    status = parse_status(find_value(payload.fields, "status", "ack", "state"))
    if status is None and payload.fields.get("errors"):
        status = "failed"
    if status is None and not payload.fields.get("status"):
        status = next(filter(None, map(parse_status, payload.types)), None)
    return _build_statuses(event, status)


def interpret_sent(event: ClassifiedEvent) -> Interpretation:
    """Read that a task was sent, and WhatsApp's id of the message where it is given."""
    return _build_statuses(event, "sent")


def interpret_dead(event: ClassifiedEvent) -> Interpretation:
    """Read that the platform's queue ended a task without success."""
    return _build_statuses(event, "failed")


def interpret_revocation(event: ClassifiedEvent) -> Interpretation:
    """Read that a message was deleted on all phones: its row stays, as `deleted`."""
    target = read_target(event.payload)
    if target is None:
        return Interpretation([], "no_ids")
    chat = _name_chat(event, target)
    revoked = StatusOutcome(
        at=event.at,
        arrived_at=event.accepted_at,
        account=event.account,
        external_ids=list(target.ids),
        status="deleted",
        phone=chat.phone,
        lid=chat.lid,
        target_outgoing=_find_direction(event, target),
    )
    return Interpretation([revoked], "revoke")


def interpret_edit(event: ClassifiedEvent) -> Interpretation:
    """Read the new text of a message."""
    target = read_target(event.payload)
    text = read_edited_text(event.payload.fields)
    if not text:
        return Interpretation([], "no_text")
    if target is None:
        return Interpretation([], "no_ids")
    chat = _name_chat(event, target)
    edit = EditOutcome(
        at=event.at,
        arrived_at=event.accepted_at,
        account=event.account,
        external_ids=list(target.ids),
        text=text,
        phone=chat.phone,
        lid=chat.lid,
        target_outgoing=_find_direction(event, target),
    )
    return Interpretation([edit], "edit")


def interpret_reaction(event: ClassifiedEvent) -> Interpretation:
    """Read a reaction. An empty emoji withdraws it."""
    fields = event.payload.fields
    target = read_target(event.payload)
    own = is_own(fields) is True
    if target is None:
        return Interpretation([], "no_ids")
    if not (event.peer or event.lid or own):
        return Interpretation([], "no_peer")
    chat = _name_chat(event, target)
    nested = find_value(find_object(fields, "reaction"), "emoji", "text", "message")
    emoji = parse_text(find_value(fields, *_EMOJI_FIELDS)) or parse_text(nested)
    reaction = ReactionOutcome(
        at=event.at,
        arrived_at=event.accepted_at,
        account=event.account,
        external_ids=list(target.ids),
        outgoing=own,
        phone=event.peer or chat.phone or "",
        lid=chat.lid,
        target_outgoing=target.outgoing,
        emoji=emoji[:MAX_EMOJI] if emoji else None,
    )
    return Interpretation([reaction], "reaction")


def interpret_session(event: ClassifiedEvent) -> Interpretation:
    """Read that the account's phone is connected, or lost, and what to do about it."""
    status = STATUS_OF_EVENT[event.type]
    reason = find_reason(event.payload.fields)
    if meaning := find_meaning(event.payload):
        reason = explain_meaning(event.payload, meaning, reason)
    session = SessionOutcome(
        at=event.at,
        account=event.account,
        status=status,
        reason=reason or event.platform_type,
        error=reason if status == "error" else None,
    )
    return Interpretation([session], event.type)


def interpret_qr(event: ClassifiedEvent) -> Interpretation:
    """Read a pairing code."""
    fields = event.payload.fields
    nested = find_value(find_object(fields, "qrcode"), "code", "base64")
    code = parse_text(find_value(fields, *_QR_FIELDS)) or parse_text(nested)
    if not code or len(code) > MAX_QR:
        return Interpretation([], "no_qr")
    session = SessionOutcome(
        at=event.at,
        account=event.account,
        status="qr_issued",
        qr=code,
        reason=event.platform_type,
    )
    return Interpretation([session], "qr")


def _build_statuses(event: ClassifiedEvent, status: MessageStatus | None) -> Interpretation:
    """Return the status of each message that the event lists."""
    if status is None:
        return Interpretation([], "unknown_status")
    messages = read_listed_ids(event.payload)
    if not messages:
        return Interpretation([], "no_ids")
    error = None
    if status == "failed":
        fallback = f"the platform gave it up ({event.platform_type})"
        error = find_reason(event.payload.fields) or fallback
    outcomes: list[Outcome] = [_build_status(event, ids, status, error) for ids in messages]
    return Interpretation(outcomes, f"status:{status}" if event.type == "status" else event.type)


def _build_status(
    event: ClassifiedEvent, ids: MessageIds, status: MessageStatus, error: str | None
) -> StatusOutcome:
    target = describe_target(ids.all)
    chat = _name_chat(event, target) if _names_chat(event) else target
    return StatusOutcome(
        at=event.at,
        account=event.account,
        external_ids=list(ids.all),
        task_id=ids.task,
        wa_message_id=ids.whatsapp,
        status=status,
        error=error,
        code="given_up" if status == "failed" else None,
        arrived_at=event.accepted_at,
        phone=chat.phone,
        lid=chat.lid,
        target_outgoing=_find_direction(event, target),
    )


def _name_chat(event: ClassifiedEvent, target: MessageTarget) -> MessageTarget:
    """Return the target with the chat that its id names, or else the event."""
    if target.phone or target.lid:
        return target
    return replace(target, phone=event.peer, lid=event.lid)


def _names_chat(event: ClassifiedEvent) -> bool:
    """Return whether a status says which chat it is about: `to` alone may be the own number."""
    fields = event.payload.fields
    return is_own(fields) is not None or not _CHAT_FIELDS.isdisjoint(fields)


def _find_direction(event: ClassifiedEvent, target: MessageTarget) -> bool | None:
    """Return whether the account wrote the target: its id says so, or the event's flag."""
    return is_own(event.payload.fields) if target.outgoing is None else target.outgoing

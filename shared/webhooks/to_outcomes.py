"""Turn an event into its outcomes: the rows that the recorder applies to Supabase."""

from collections.abc import Callable
from uuid import NAMESPACE_URL, UUID, uuid5

from shared.outcomes import EditOutcome, LogOutcome, MessageOutcome, Outcome
from shared.webhooks import answers, updates
from shared.webhooks.classify import MESSAGE_EVENTS, ClassifiedEvent
from shared.webhooks.content import read_content
from shared.webhooks.fields import find_value
from shared.webhooks.message_ids import MessageIds, parse_key, read_message_ids
from shared.webhooks.names import find_sender_name
from shared.webhooks.participants import find_own_phone
from shared.webhooks.redact import redact_payload
from shared.webhooks.updates import Interpretation
from shared.webhooks.vocabulary import EventType, parse_status

_UPDATES: dict[EventType, Callable[[ClassifiedEvent], Interpretation]] = {
    "status": updates.interpret_status,
    "sent": updates.interpret_sent,
    "dead": updates.interpret_dead,
    "revoke": updates.interpret_revocation,
    "edit": updates.interpret_edit,
    "reaction": updates.interpret_reaction,
    "qr": updates.interpret_qr,
    "connected": updates.interpret_session,
    "disconnected": updates.interpret_session,
    "session_error": updates.interpret_session,
}
_EDIT_FLAGS = frozenset({"isEdited", "edited", "latestEditMsgKey"})
"""Fields of a message that was edited before it came, or that tells its own edit."""


def build_outcomes(event: ClassifiedEvent, event_id: UUID) -> list[Outcome]:
    """Return the outcomes of an event, its log entry last. Never raises."""
    outcomes, became, error = _interpret(event, event_id)
    is_text = any(
        isinstance(outcome, EditOutcome)
        or (isinstance(outcome, MessageOutcome) and outcome.content == "text")
        for outcome in outcomes
    )
    log = LogOutcome(
        at=event.accepted_at,
        id=event_id,
        account=event.account,
        event_type=event.platform_type,
        payload=redact_payload(event.payload.raw, is_text=is_text),
        became=became,
        error=error,
    )
    return [*outcomes, log]


def make_row_id(account: str, wa_message_id: str, *, outgoing: bool, chat: str | None) -> UUID:
    """Return the id of a message's row: the same for every event that names the same chat.

    The SQL files a message that names its chat by a hidden id under the row that exists.
    """
    direction = "out" if outgoing else "in"
    key = parse_key(wa_message_id).key
    return uuid5(NAMESPACE_URL, f"wpp:{account}:message:{chat or '-'}:{direction}:{key}")


def _interpret(event: ClassifiedEvent, event_id: UUID) -> Interpretation:
    if event.foreign_account:
        error = f"it came to the URL of {event.account} but names {event.foreign_account}"
        return Interpretation([], "foreign_account", error)
    if event.type in MESSAGE_EVENTS:
        return Interpretation(_build_messages(event, event_id), event.type)
    if interpret := _UPDATES.get(event.type):
        return interpret(event)
    return Interpretation([], event.type)


def _build_messages(event: ClassifiedEvent, event_id: UUID) -> list[Outcome]:
    """Return the row of a message, and its edit where it was edited before it came.

    Its text is the edited text then, and stands in for the first text, which may still come.
    """
    message = _build_message(event, event_id)
    fields = event.payload.fields
    is_edited = any(fields[flag] for flag in _EDIT_FLAGS.intersection(fields))
    if not (is_edited and message.wa_message_id and message.text):
        return [message]
    edit = EditOutcome(
        at=message.at,
        account=event.account,
        external_ids=[message.wa_message_id],
        text=message.text,
        arrived_at=event.accepted_at,
        phone=event.peer,
        lid=event.lid,
        target_outgoing=message.outgoing,
    )
    metadata = message.metadata | {"stand_in": True}
    return [message.model_copy(update={"metadata": metadata}), edit]


def _build_message(event: ClassifiedEvent, event_id: UUID) -> MessageOutcome:
    """Return the row of a message. Its file stays in the event: the row has its name and type.

    A person whose phone WhatsApp hides has no contact yet: `phone` is empty. The address of a
    sender that cannot be read is in the metadata.
    """
    fields = event.payload.fields
    own = event.type == "echo"
    content = read_content(event)
    ids = read_message_ids(event.payload)
    if answers.is_vote(event.payload.types) and ids.whatsapp == answers.read_poll_id(fields):
        ids = MessageIds(None, None, ())  # the poll's id, and not the vote's
    metadata = content.metadata
    if content.is_stand_in:
        metadata["stand_in"] = True
    if event.unreadable_sender:
        metadata["sender"] = event.unreadable_sender
    status = (parse_status(fields.get("ack")) or "sent") if own else "delivered"
    return MessageOutcome(
        at=event.at,
        arrived_at=event.accepted_at,
        id=_make_message_id(event, event_id, ids.whatsapp),
        account=event.account,
        outgoing=own,
        phone=event.peer or "",
        lid=event.lid,
        own_phone=find_own_phone(fields, event.peer, own=own),
        peer_name=None if own else find_sender_name(fields),
        content=content.content,
        text=content.text,
        file_name=content.file_name,
        file_type=content.file_type,
        media_state="pending" if content.file_name else "none",
        status=status,
        task_id=ids.task,
        wa_message_id=ids.whatsapp,
        metadata=metadata,
    )


def _make_message_id(event: ClassifiedEvent, event_id: UUID, wa_message_id: str | None) -> UUID:
    """Return the row's id by WhatsApp's id, else by the platform's event id, else `event_id`.

    The time counts beside the platform's event id: it may count from 1 again after a restart.
    """
    payload = event.payload
    if wa_message_id:
        return make_row_id(
            event.account,
            wa_message_id,
            outgoing=event.type == "echo",
            chat=event.conversation,
        )
    if payload.event_id:
        time = find_value(payload.fields, "timestamp", "t", "messageTimestamp") or payload.created
        return uuid5(NAMESPACE_URL, f"wpp:{event.account}:event:{payload.event_id}:{time}")
    return event_id

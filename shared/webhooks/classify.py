"""Classify an event: its type, its account, its chat and its time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from shared.webhooks.attachments import Attachment, find_attachment
from shared.webhooks.fields import find_value, parse_id, parse_text
from shared.webhooks.message_ids import read_listed_ids
from shared.webhooks.participants import Chat, find_chat, has_own_id, is_own
from shared.webhooks.payload import Payload, find_time
from shared.webhooks.vocabulary import (
    EVENT_TYPES,
    NOTICE_TYPES,
    SESSION_STATES,
    STATUS_FIELD_TYPES,
    EventType,
    normalize_word,
)

MAX_TYPE = 64
"""Characters of a type, and of an account, that the log stores."""
SESSION_EVENTS = frozenset({"qr", "connected", "disconnected"})
TARGETING_EVENTS = frozenset({"reaction", "edit", "revoke"})
"""Events about an earlier message, which their ids name."""
MESSAGE_EVENTS = frozenset({"message", "echo"})
_CHAT_EVENTS = MESSAGE_EVENTS | TARGETING_EVENTS
_OWN_EVENTS = frozenset({"echo", "status", "sent", "dead"})
_NO_CHAT = Chat("none")


@dataclass(frozen=True)
class ClassifiedEvent:
    """An event of the platform, for the account of the webhook URL that received it."""

    payload: Payload
    type: EventType
    declared_type: EventType
    """The type regardless of the chat, which may make an event `ignored_chat` or `unknown`."""
    account: str
    foreign_account: str | None
    """A different account in the payload. The URL's key does not prove it: the event is only
    logged."""
    peer: str | None
    """The phone of the chat."""
    lid: str | None
    """The chat's hidden id, where WhatsApp hides the phone: 123456789012345@lid."""
    at: datetime
    platform_time: datetime | None
    accepted_at: datetime

    @property
    def platform_type(self) -> str:
        """The type in the platform's words."""
        return self.payload.type[:MAX_TYPE]

    @property
    def conversation(self) -> str | None:
        """What names the chat: events with the same name keep their order."""
        return self.peer or self.lid

    @cached_property
    def attachment(self) -> Attachment | None:
        return find_attachment(self.payload.fields)


def classify_event(payload: Payload, account: str, accepted_at: datetime) -> ClassifiedEvent:
    """Classify an event that arrived for `account`. Never raises."""
    event_type = _find_type(payload)
    chat = _find_chat(payload, event_type)
    claimed = find_claimed_account(payload)
    platform_time = find_time(payload, accepted_at)
    return ClassifiedEvent(
        payload=payload,
        type=_restrict_type(event_type, chat),
        declared_type=event_type,
        account=account,
        foreign_account=claimed[:MAX_TYPE] if claimed and claimed != account else None,
        peer=chat.phone,
        lid=chat.lid,
        at=_order_time(event_type, platform_time, accepted_at),
        platform_time=platform_time,
        accepted_at=accepted_at,
    )


def find_claimed_account(payload: Payload) -> str | None:
    """Return the account that the payload names. It is unproven: any caller can write it."""
    claimed = parse_id(payload.raw.get("account")) or parse_id(payload.fields.get("account"))
    return claimed.removeprefix("wpp_") if claimed else None


def _find_chat(payload: Payload, event_type: EventType) -> Chat:
    if event_type in SESSION_EVENTS:
        return _NO_CHAT
    own = event_type in _OWN_EVENTS or is_own(payload.fields) is True
    return find_chat(payload.fields, own=own)


def _find_type(payload: Payload) -> EventType:
    if state := _find_session_state(payload):
        return state
    known = [EVENT_TYPES[word] for word in payload.types if word in EVENT_TYPES]
    specific = (event_type for event_type in known if event_type != "message")
    event_type = next(specific, known[0] if known else "unknown")
    if event_type == "unknown" and _looks_like_message(payload):
        event_type = "message"
    if event_type != "message":
        return event_type
    own = is_own(payload.fields)
    return "echo" if own or (own is None and has_own_id(payload.fields)) else "message"


def _find_session_state(payload: Payload) -> EventType | None:
    """Return the session's state, which events of a general type hold in a field."""
    if not STATUS_FIELD_TYPES.intersection(payload.types) or read_listed_ids(payload):
        return None
    state = parse_text(find_value(payload.fields, "status", "state", "connection")) or ""
    return SESSION_STATES.get(normalize_word(state).replace(".", ""))


def _looks_like_message(payload: Payload) -> bool:
    """Return whether a flat event of an unrecognized type is a message by its fields."""
    fields = payload.fields
    has_sender = find_value(fields, "from", "raw_from", "chatId") is not None
    has_content = any(fields.get(name) is not None for name in ("text", "body", "media"))
    is_notice = NOTICE_TYPES.intersection(payload.types)
    return payload.is_flat and has_sender and has_content and not is_notice


def _restrict_type(event_type: EventType, chat: Chat) -> EventType:
    """Return the type, unless the chat never has a contact, or a message has no chat."""
    if chat.type == "none" and event_type in MESSAGE_EVENTS:
        return "unknown"
    if chat.type == "group" and (event_type in _CHAT_EVENTS or event_type == "status"):
        return "ignored_chat"
    if chat.type == "service" and event_type in MESSAGE_EVENTS:
        return "ignored_chat"
    return event_type


def _order_time(
    event_type: EventType, platform_time: datetime | None, accepted_at: datetime
) -> datetime:
    """Return the time that orders an event.

    Session events take the time of arrival: the platform's whole seconds are too coarse beside
    states that the pipeline itself observes. Messages of the same second keep the order of their
    arrival: the later a message arrives, the larger the fraction of a second that it is given.
    """
    if event_type in SESSION_EVENTS or platform_time is None:
        return accepted_at
    is_exact = platform_time.microsecond or accepted_at <= platform_time
    if event_type not in _CHAT_EVENTS or is_exact:
        return platform_time
    delay_s = (accepted_at - platform_time).total_seconds()
    return platform_time + timedelta(microseconds=int(999_999 * delay_s / (delay_s + 1)))

"""Classify an event: its type, its account, its chat and its time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from shared.webhooks.addresses import read_address, spell_address
from shared.webhooks.answers import is_vote
from shared.webhooks.attachments import Attachment, find_attachment
from shared.webhooks.fields import find_value, parse_id, parse_text
from shared.webhooks.message_ids import read_edit_target, read_listed_ids
from shared.webhooks.participants import Chat, find_chat, has_own_id, is_own
from shared.webhooks.payload import Payload
from shared.webhooks.sessions import EVENT_OF_MEANING, find_meaning, order_session_time
from shared.webhooks.times import find_time
from shared.webhooks.vocabulary import EVENT_TYPES, INNER_TYPES, EventType, normalize_word

MAX_TYPE = 64
"""Characters of a type, and of an account, that the log stores."""
SESSION_EVENTS = frozenset({"qr", "connected", "disconnected", "session_error", "session_passing"})
TARGETING_EVENTS = frozenset({"reaction", "edit", "revoke"})
"""Events about an earlier message, which their ids name."""
MESSAGE_EVENTS = frozenset({"message", "echo"})
_CHAT_EVENTS = MESSAGE_EVENTS | TARGETING_EVENTS
_OWN_EVENTS = frozenset({"echo", "status", "sent", "dead"})
_CONTENT_FIELDS = ("text", "body", "media")
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
    """The chat's hidden id, in place of the phone or beside it: 123456789012345@lid."""
    unreadable_sender: str | None
    """The address of the chat, where it has no known spelling. The message has no contact then."""
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
        return self.peer or self.lid or self.unreadable_sender

    @cached_property
    def attachment(self) -> Attachment | None:
        return find_attachment(self.payload.fields)


def classify_event(payload: Payload, account: str, accepted_at: datetime) -> ClassifiedEvent:
    """Classify an event that arrived for `account`. Never raises."""
    event_type = _find_type(payload)
    chat = _find_chat(payload, event_type)
    claimed = find_claimed_account(payload)
    platform_time = find_time(payload.fields, payload.created, accepted_at)
    return ClassifiedEvent(
        payload=payload,
        type=_restrict_type(event_type, chat),
        declared_type=event_type,
        account=account,
        foreign_account=claimed[:MAX_TYPE] if claimed and claimed != account else None,
        peer=chat.phone,
        lid=chat.lid,
        unreadable_sender=chat.address,
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
    flag = is_own(payload.fields)
    own = event_type in _OWN_EVENTS if flag is None else flag
    return find_chat(payload.fields, own=own or event_type == "echo")


def _find_type(payload: Payload) -> EventType:
    event_type = _find_declared_type(payload)
    if event_type in ("message", "echo", "notice"):
        event_type = _refine_message(payload, event_type)
    elif event_type == "status":
        event_type = _refine_status(payload)
    if event_type != "message":
        return event_type
    if is_vote(payload.types):
        return "echo" if _is_own_vote(payload) else "message"
    own = is_own(payload.fields)
    return "echo" if own or (own is None and has_own_id(payload.fields)) else "message"


def _find_declared_type(payload: Payload) -> EventType:
    """Return what an event is by its own type, or by the fields of a type that is not known."""
    meaning = find_meaning(payload)
    if meaning and not read_listed_ids(payload):
        return EVENT_OF_MEANING[meaning]
    known = [EVENT_TYPES[word] for word in payload.types if word in EVENT_TYPES]
    specific = (event_type for event_type in known if event_type != "message")
    event_type = next(specific, known[0] if known else "unknown")
    if event_type == "unknown" and _looks_like_message(payload):
        return "message"
    return event_type


def _refine_message(payload: Payload, event_type: EventType) -> EventType:
    """Return what the content makes of a message: an edit, a revocation, a reaction, a notice."""
    fields = payload.fields
    if "subtype" in fields:
        subtype = normalize_word(parse_text(fields["subtype"]) or "")
        if subtype in ("message.edit", "sender.revoke", "admin.revoke"):
            return "edit" if subtype == "message.edit" else "revoke"
    if read_edit_target(fields):
        return "edit"
    for name in ("type", "messageType"):
        word = fields.get(name)
        inner = EVENT_TYPES.get(normalize_word(word)) if isinstance(word, str) else None
        if inner in INNER_TYPES:
            return inner
    return event_type


def _refine_status(payload: Payload) -> EventType:
    """Return whether an update of a message, as Baileys posts it, is an edit or a revocation."""
    if find_value(payload.fields, "status", "ack", "state") is not None:
        return "status"
    if parse_id(payload.fields.get("editedMessageId")):
        return "edit"
    return "revoke" if parse_id(payload.fields.get("revokedMessageId")) else "status"


def _is_own_vote(payload: Payload) -> bool:
    """Return whether the account itself voted: the voter is not the person of the chat."""
    flag = is_own(payload.fields)
    if flag is not None:
        return flag
    voter = spell_address(find_value(payload.fields, "sender", "voter", "from", "author"))
    chat = spell_address(find_value(payload.fields, "chatId", "remoteJid"))
    if not voter or not chat:
        return False
    seen, peer = read_address(voter), read_address(chat)
    return seen.phone is not None and peer.phone is not None and seen.phone != peer.phone


def _looks_like_message(payload: Payload) -> bool:
    """Return whether a flat event of an unrecognized type is a message by its fields."""
    fields = payload.fields
    has_sender = find_value(fields, "from", "rawFrom", "chatId") is not None
    has_content = any(fields.get(name) is not None for name in _CONTENT_FIELDS)
    return payload.is_flat and has_sender and has_content


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

    Messages of the same second keep the order of their arrival: the later a message arrives, the
    larger the fraction of a second that it is given.
    """
    if event_type in SESSION_EVENTS:
        return order_session_time(platform_time, accepted_at)
    if platform_time is None:
        return accepted_at
    is_exact = platform_time.microsecond or accepted_at <= platform_time
    if event_type not in _CHAT_EVENTS or is_exact:
        return platform_time
    delay_s = (accepted_at - platform_time).total_seconds()
    return platform_time + timedelta(microseconds=int(999_999 * delay_s / (delay_s + 1)))

"""What has arrived: which event it is, about whose conversation, and when."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.events import utc_now
from shared.webhooks import message_ids
from shared.webhooks.participants import Chat, find_chat, has_own_id, is_own
from shared.webhooks.payload import (
    Payload,
    find_time,
    find_value,
    parse_id,
    parse_payload,
    parse_text,
)
from shared.webhooks.vocabulary import (
    EVENT_TYPES,
    NOTICE_TYPES,
    SESSION_STATES,
    STATUS_FIELD_TYPES,
    EventType,
    normalize_word,
    parse_status,
)

RETRY_WINDOW_S = 120
"""Two equal events that carry neither an id nor a time are one event within this time, else two."""

_VOLATILE = frozenset(
    {"attempt", "attempts", "retry", "retries", "retrycount", "retry_count", "deliveryattempt"}
)
"""What the platform may change from one try to the next."""
_MAX_LEVELS = 64
_LONG = 4096

_SESSION = ("qr", "connected", "disconnected")
_TARGETING = ("reaction", "edit", "revoke")
_CHATS = ("message", "echo", *_TARGETING)


@dataclass(frozen=True)
class ClassifiedEvent:
    """One event of the platform. `account` is whose URL it came to, which proves itself."""

    type: EventType
    event_type: str
    """The platform's own word for it."""
    account: str
    foreign: str | None
    """Another account, which the payload names: it must not be believed, so that the event is only logged."""
    peer: str | None
    """The phone of whom it is about."""
    at: datetime
    identity: str
    """Equal for two tries of one event, different for two events."""
    hidden: str | None = None
    """WhatsApp's id of a peer whose phone it doesn't tell: 123456789012345@lid."""
    earlier: str | None = None
    """The identity of the same event if it came up to RETRY_WINDOW_S ago, where only the hour tells two apart."""

    @property
    def conversation(self) -> str | None:
        """Whose conversation it stands in, so that it keeps its order there."""
        return self.peer or self.hidden


def classify_event(
    payload: Mapping[str, Any], account: str, accepted_at: datetime | None = None
) -> ClassifiedEvent:
    """Return what arrived for `account`; never raises. `accepted_at` stands in where no time is told."""
    accepted_at = accepted_at or utc_now()
    shape = parse_payload(payload)
    kind = _kind(shape)
    of_ours = kind in ("echo", "status", "sent", "dead") or is_own(shape.fields) is True
    chat = Chat(None, "nobody") if kind in _SESSION else find_chat(shape.fields, own=of_ours)
    told, claimed = find_time(shape, accepted_at), find_claimed_account(payload)
    identity, earlier = _identities(payload, shape, kind, accepted_at, timed=told is not None)
    return ClassifiedEvent(
        type=_placed(kind, chat),
        event_type=shape.word[:64],
        account=account,
        foreign=claimed[:64] if claimed and claimed != account else None,
        peer=chat.phone,
        at=_time(kind, told, accepted_at),
        identity=identity,
        hidden=chat.hidden,
        earlier=earlier,
    )


def find_claimed_account(payload: Mapping[str, Any]) -> str | None:
    """Return the account that a payload says it is about. Whoever can post can write any."""
    claimed = parse_id(payload.get("account")) or parse_id(
        parse_payload(payload).fields.get("account")
    )
    return claimed.removeprefix("wpp_") if claimed else None


def _kind(shape: Payload) -> EventType:
    if state := _session_state(shape):
        return state
    known = [EVENT_TYPES[word] for word in shape.words if word in EVENT_TYPES]
    kind = next((kind for kind in known if kind != "message"), known[0] if known else "unknown")
    if kind == "unknown" and shape.flat and _speaks(shape):
        kind = "message"
    if kind != "message":
        return kind
    own = is_own(shape.fields)
    return "echo" if own or (own is None and has_own_id(shape.fields)) else "message"


def _session_state(shape: Payload) -> EventType | None:
    """Return the state that an event of a general type ("session.status") tells in a field."""
    if not STATUS_FIELD_TYPES.intersection(shape.words) or message_ids.read_listed_ids(shape):
        return None
    state = normalize_word(
        parse_text(find_value(shape.fields, "status", "state", "connection")) or ""
    ).replace(".", "")
    return SESSION_STATES.get(state)


def _speaks(shape: Payload) -> bool:
    """Return whether a flat event of a type that we don't know is a message all the same."""
    fields = shape.fields
    somebody = find_value(fields, "from", "raw_from", "chatId") is not None
    said = any(fields.get(name) is not None for name in ("text", "body", "media"))
    return somebody and said and not NOTICE_TYPES.intersection(shape.words)


def _placed(kind: EventType, chat: Chat) -> EventType:
    """Return `kind`, unless it is about a chat that never becomes a contact, or a message of nobody."""
    if kind in ("message", "echo") and chat.kind == "nobody":
        return "unknown"
    crowd = chat.kind == "crowd" and kind in (*_CHATS, "status")
    return (
        "ignored_chat"
        if crowd or (chat.kind == "service" and kind in ("message", "echo"))
        else kind
    )


def _time(kind: EventType, told: datetime | None, accepted_at: datetime) -> datetime:
    """Return when an event happened.

    States come in order and are told in whole seconds: too coarse to stand beside what we have seen ourselves. What
    was written in one second keeps the order in which it came: the later it came, the later within that second.
    """
    if kind in _SESSION or told is None:
        return accepted_at
    if kind not in _CHATS or told.microsecond or accepted_at <= told:
        return told
    late_s = (accepted_at - told).total_seconds()
    return told + timedelta(microseconds=int(999_999 * late_s / (late_s + 1)))


def _identities(
    payload: Mapping[str, Any],
    shape: Payload,
    kind: EventType,
    accepted_at: datetime,
    *,
    timed: bool,
) -> tuple[str, str | None]:
    """Return what two tries of an event have in common and two events do not, and `Arrival.earlier`.

    The content counts even beside an id: ids of events may start anew when the platform does, and a second message
    under a known id is for the database to compare. Without an id, the platform's time tells two equal texts apart;
    without that, only when they came. A session or a reaction may return to what it was within seconds, and telling
    Supabase the same twice does no harm: these are never taken for a second try. Nor does the id of the message that
    they are about name them.
    """
    returning = kind in (*_SESSION, *_TARGETING)
    named = shape.event_id
    if not named and not returning and kind not in ("unknown", "sla"):
        each = (
            [message_ids.read_message_ids(shape)]
            if kind in ("message", "echo")
            else message_ids.read_listed_ids(shape)[:1]
        )
        named = ",".join(name for one in each for name in one.every) or None
    said = parse_status(find_value(shape.fields, "status", "ack"))
    found = f"{named or '-'}:{kind}:{said or '-'}:{_digest(payload)}"
    if named or timed:
        return found, None
    if returning:
        return f"{found}:{accepted_at.timestamp()}", None
    window = int(accepted_at.timestamp()) // RETRY_WINDOW_S
    return f"{found}:{window}", f"{found}:{window - 1}"


def _digest(payload: Mapping[str, Any]) -> str:
    stable = json.dumps(_stable("", payload, 0), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(stable.encode()).hexdigest()[:32]


def _stable(name: str, value: Any, level: int) -> Any:
    if level > _MAX_LEVELS:
        return type(value).__name__
    if isinstance(value, dict):
        kept = (
            (str(key), item) for key, item in value.items() if str(key).lower() not in _VOLATILE
        )
        return {key: _stable(key, item, level + 1) for key, item in kept}
    if isinstance(value, list):
        return [_stable(name, item, level + 1) for item in value]
    if not isinstance(value, str):
        return (
            value
            if isinstance(value, float | bool | None)
            else hex(value)
            if isinstance(value, int)
            else str(value)
        )
    if name.lower().endswith("url"):
        value = value.partition("?")[0]  # a link to a file is signed anew for each try
    return (
        value
        if len(value) <= _LONG
        else hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
    )

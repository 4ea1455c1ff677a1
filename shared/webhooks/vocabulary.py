"""The platform's words for event types, content types and statuses, and ours for each.

Sources: webhooks that the platform posted, the names in its documents, and those of WPPConnect
Server, from which it grew. `normalize_word` makes MESSAGE_IN, message-in and message.in equal.
docs/arriving.md shows these tables with the rows that each type gives.
"""

import re
from typing import Any, Literal

from shared.outcomes import ContentType, MessageStatus

EventType = Literal[
    "message",
    "echo",
    "qr",
    "connected",
    "disconnected",
    "sent",
    "status",
    "sla",
    "dead",
    "reaction",
    "edit",
    "revoke",
    "ignored_chat",
    "unknown",
]
"""What an event is. echo: a message that the account wrote on its phone. dead: the platform's queue
ended a task without success. ignored_chat: a message in a group or from WhatsApp itself."""
SessionState = Literal["connected", "disconnected"]

_EVENT_WORDS: dict[EventType, str] = {
    "message": """
        message message.incoming message.received message.in message.new message.create
        incoming.message messages.upsert onmessage onanymessage chat text conversation image
        file audio video gif document ptt voice sticker location live.location vcard
        multi.vcard contact contacts poll poll.creation list list.response buttons
        buttons.response template template.button.reply interactive product order call
        call.log incomingcall
    """,
    "echo": "onselfmessage message.outgoing message.fromme",
    "qr": "qr qrcode qr.code session.qr session.qrcode qr.updated",
    "connected": "connected ready session.connected session.ready",
    "disconnected": """
        offline disconnected logout logged.out session.disconnected session.offline
        session.logout
    """,
    "sent": "message.sent",
    "status": """
        delivery message.status messages.update message.ack ack onack status
        message.delivered message.read message.played message.failed
    """,
    "sla": "sla.violation",
    "dead": "message.dead",
    "reaction": "reaction message.reaction messages.reaction onreactionmessage",
    "edit": "edit edited message.edit message.edited messages.edit onmessageedit",
    "revoke": """
        revoke revoked message.revoke message.revoked message.revoke.everyone
        message.deleted onrevokedmessage
    """,
}
EVENT_TYPES: dict[str, EventType] = {
    word: event_type for event_type, words in _EVENT_WORDS.items() for word in words.split()
}

STATUS_FIELD_TYPES = frozenset(
    {"status", "session.status", "session.state", "connection.update", "status.find"}
)
"""Types whose `status` or `state` field tells whether they are about a message or a session."""

NOTICE_TYPES = frozenset(
    {
        "e2e.notification",
        "notification",
        "notification.template",
        "protocol",
        "gp2",
        "ciphertext",
        "presence",
    }
)
"""Notices that WhatsApp itself writes into a chat: they make no message."""

_STATUS_WORDS: dict[MessageStatus, str] = {
    "queued": "queued pending accepted",
    "sent": "sent server server.ack",
    "delivered": "delivered received device delivery.ack message.delivered",
    "read": "read played seen viewed message.read message.played",
    "failed": "failed error dead undelivered rejected message.failed",
    "deleted": "deleted revoked",
}
STATUSES: dict[str, MessageStatus] = {
    word: status for status, words in _STATUS_WORDS.items() for word in words.split()
}

_STATE_WORDS: dict[SessionState, str] = {
    "connected": "connected ready open inchat islogged qrreadsuccess normal",
    "disconnected": """
        offline disconnected logout loggedout close closed notlogged browserclose unpaired
        conflict
    """,
}
SESSION_STATES: dict[str, SessionState] = {
    word: state for state, words in _STATE_WORDS.items() for word in words.split()
}

_CONTENT_WORDS: dict[ContentType, str] = {
    "text": "chat text conversation",
    "image": "image",
    "video": "video gif",
    "audio": "audio",
    "voice": "ptt voice",
    "document": "document",
    "sticker": "sticker",
    "location": "location live.location",
    "contact": "vcard multi.vcard contact contacts",
}
CONTENT_TYPES: dict[str, ContentType] = {
    word: content for content, words in _CONTENT_WORDS.items() for word in words.split()
}

ACK_STATUSES: dict[int, MessageStatus] = {
    0: "queued",
    1: "sent",
    2: "delivered",
    3: "read",
    4: "read",
}
"""WhatsApp's acknowledgements by number: 4 is "played". A negative number is a failure."""

_SEPARATORS = re.compile(r"[\s_.\-]+")
_ACK = re.compile(r"\s*-?[0-9]{1,3}\s*")


def normalize_word(word: str) -> str:
    """Return a word as the tables spell it: lower case, with dots between its parts."""
    return _SEPARATORS.sub(".", word.strip().lower())


def parse_status(value: Any) -> MessageStatus | None:
    """Return the status that a word or the number of an ack means, or None."""
    if isinstance(value, str) and not _ACK.fullmatch(value):
        return STATUSES.get(normalize_word(value))
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    ack = int(value)
    return "failed" if ack < 0 else ACK_STATUSES.get(ack)

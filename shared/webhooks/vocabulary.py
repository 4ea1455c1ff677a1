"""The platform's words for its events, message kinds and statuses, all generations of them, and ours for each.

Source: the webhooks that the platform has been seen to post, the names its documents use, and those of the WPPConnect
server that it grew out of. Words are compared by `plain`: MESSAGE_IN, message-in and message.in are one.
"""

import re
from typing import Any, Literal

from shared.outcomes import ContentType, MessageStatus

EventType = Literal[
    "message", "echo", "qr", "connected", "disconnected", "sent", "status", "sla", "dead", "reaction", "edit", "revoke",
    "ignored_chat", "unknown",
]  # fmt: skip
SessionState = Literal["connected", "disconnected"]

_TYPES: dict[EventType, str] = {
    "message": """message message.incoming message.received message.in message.new message.create incoming.message
        messages.upsert onmessage onanymessage chat text conversation image file audio video gif document ptt voice
        sticker location live.location vcard multi.vcard contact contacts poll poll.creation list list.response buttons
        buttons.response template template.button.reply interactive product order call call.log incomingcall""",
    "echo": "onselfmessage message.outgoing message.fromme",
    "qr": "qr qrcode qr.code session.qr session.qrcode qr.updated",
    "connected": "connected ready session.connected session.ready",
    "disconnected": "offline disconnected logout logged.out session.disconnected session.offline session.logout",
    "sent": "message.sent",
    "status": """delivery message.status messages.update message.ack ack onack status message.delivered message.read
        message.played message.failed""",
    "sla": "sla.violation",
    "dead": "message.dead",
    "reaction": "reaction message.reaction messages.reaction onreactionmessage",
    "edit": "edit edited message.edit message.edited messages.edit onmessageedit",
    "revoke": """revoke revoked message.revoke message.revoked message.revoke.everyone message.deleted
        onrevokedmessage""",
}
EVENT_TYPES: dict[str, EventType] = {
    word: kind for kind, words in _TYPES.items() for word in words.split()
}

STATUS_FIELD_TYPES = frozenset(
    {"status", "session.status", "session.state", "connection.update", "status.find"}
)
"""Types that say neither what became of a message nor of a session: their `status` or `state` does."""

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
"""What WhatsApp writes into a chat by itself: nobody said it, so it makes no message."""

_STATUSES: dict[MessageStatus, str] = {
    "queued": "queued pending accepted",
    "sent": "sent server server.ack",
    "delivered": "delivered received device delivery.ack message.delivered",
    "read": "read played seen viewed message.read message.played",
    "failed": "failed error dead undelivered rejected message.failed",
    "deleted": "deleted revoked",
}
STATUSES: dict[str, MessageStatus] = {
    word: status for status, words in _STATUSES.items() for word in words.split()
}

_STATES: dict[SessionState, str] = {
    "connected": "connected ready open inchat islogged qrreadsuccess normal",
    "disconnected": "offline disconnected logout loggedout close closed notlogged browserclose unpaired conflict",
}
SESSION_STATES: dict[str, SessionState] = {
    word: state for state, words in _STATES.items() for word in words.split()
}

_CONTENTS: dict[ContentType, str] = {
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
    word: content for content, words in _CONTENTS.items() for word in words.split()
}

ACK_STATUSES: dict[int, MessageStatus] = {
    0: "queued",
    1: "sent",
    2: "delivered",
    3: "read",
    4: "read",
}
"""WhatsApp's acknowledgements by number: 4 is "played". Below 0 it failed."""


def normalize_word(word: str) -> str:
    """Return a word as the tables spell it."""
    return re.sub(r"[\s_.\-]+", ".", word.strip().lower())


def parse_status(value: Any) -> MessageStatus | None:
    """Return what a status means, a word or an ack's number, or None for one that we do not know."""
    if isinstance(value, str) and not re.fullmatch(r"\s*-?[0-9]{1,3}\s*", value):
        return STATUSES.get(normalize_word(value))
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    ack = int(value)
    return "failed" if ack < 0 else ACK_STATUSES.get(ack)

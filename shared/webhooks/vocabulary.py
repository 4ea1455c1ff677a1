"""The platform's words for event types, content types and statuses, and ours for each.

Sources: webhooks that the platform posted, the names in its documents, and those of WPPConnect
Server, from which it grew. `normalize_word` makes MESSAGE_IN, message-in and message.in equal.
docs/arriving.md shows these tables with the rows that each type gives.
"""

import re
from functools import lru_cache
from typing import Any, Literal

from shared.outcomes import ContentType, MessageStatus

EventType = Literal[
    "message",
    "echo",
    "qr",
    "connected",
    "disconnected",
    "session_error",
    "session_passing",
    "sent",
    "status",
    "sla",
    "dead",
    "reaction",
    "edit",
    "revoke",
    "notice",
    "ignored_chat",
    "unknown",
]
"""What an event is. echo: a message that the account wrote on its phone. dead: the platform's queue
ended a task without success. notice: WhatsApp or the platform tells about a chat or a contact, and
no person wrote it. ignored_chat: a message in a group or from WhatsApp itself."""

_EVENT_WORDS: dict[EventType, str] = {
    "message": """
        message message.incoming message.received message.in message.new message.create message.any
        incoming.message messages.upsert onmessage onanymessage unreadmessages message.waiting
        chat text conversation extendedtext image file audio video ptv gif
        document documentwithcaption ptt voice sticker lottie.sticker sticker.pack
        location live.location vcard multi.vcard contact contacts contactsarray
        poll poll.creation pollcreation poll.vote poll.update onpollresponse poll.response
        list list.response buttons button buttons.response button.reply list.reply
        template template.button.reply templatebuttonreply hsm interactive interactive.response
        native.flow nfm.reply product order payment groups.v4.invite groupinvite
        event.creation scheduled.event.creation view.once viewonce unavailable
        ciphertext unsupported oversized comment
        call call.log calllog calllogmesssage incomingcall oncall onincomingcall
        call.received call.offer call.offer.notice call.incoming call.created call.accepted
        call.answered call.rejected call.declined call.missed call.ended call.terminate
        call.terminated call.timeout
    """,
    "echo": """
        onselfmessage message.outgoing message.fromme send.message message.echo message.echoes
    """,
    "qr": "qr qrcode qr.code session.qr session.qrcode qr.updated qrcode.updated onqrcode",
    "connected": "connected ready session.connected session.ready",
    "disconnected": """
        offline disconnected logout logged.out session.disconnected session.offline
        session.logout closesession logoutsession
    """,
    "session_error": "auth.failure session.failed session.error",
    "session_passing": "phonecode loading.screen session.opening session.starting",
    "sent": "message.sent",
    "status": """
        delivery message.status messages.update message.ack ack onack status
        message.delivered message.read message.played message.failed message.receipt receipt
        message.receipt.update messages.receipt
    """,
    "sla": "sla.violation",
    "dead": "message.dead",
    "reaction": """
        reaction message.reaction messages.reaction onreactionmessage
    """,
    "edit": """
        edit edited message.edit message.edited messages.edit messages.edited onmessageedit
        message.update.text
    """,
    "revoke": """
        revoke revoked message.revoke message.revoked message.revoke.everyone
        message.deleted messages.delete message.delete onrevokedmessage sender.revoke
    """,
    "notice": """
        e2e.notification notification notification.template protocol gp2
        group.notification broadcast.notification newsletter.notification onnotificationmessage
        senderkeydistribution keep.in.chat keepinchat pin.in.chat pininchat pinned.message
        encreaction enccomment album system request.welcome debug
        presence presence.update onpresencechanged typing chat.presence ontyping
        chats.set chats.update chats.upsert chats.delete chat.archive contacts.set contacts.update
        contacts.upsert contact.update labels.edit labels.association label.upsert label.deleted
        label.chat.added label.chat.deleted onlabelupdated onparticipantschanged group.update
        groups.update groups.upsert group.participants.update group.join group.leave
        poll.vote.failed history.set messaging.history.set mobile.sync
    """,
}
EVENT_TYPES: dict[str, EventType] = {
    word: event_type for event_type, words in _EVENT_WORDS.items() for word in words.split()
}

INNER_TYPES: frozenset[EventType] = frozenset({"reaction", "edit", "revoke", "notice"})
"""What the type of the content may make of an event that is posted as a message."""

_STATUS_WORDS: dict[MessageStatus, str] = {
    "queued": "queued pending accepted ack.pending enqueued",
    "sent": "sent server server.ack ack.server",
    "delivered": "delivered received device delivery.ack ack.device message.delivered",
    "read": "read played seen viewed read.self ack.read ack.played message.read message.played",
    "failed": "failed error dead undelivered undeliverable rejected ack.error message.failed",
    "deleted": "deleted revoked",
}
STATUSES: dict[str, MessageStatus] = {
    word: status for status, words in _STATUS_WORDS.items() for word in words.split()
}

_CONTENT_WORDS: dict[ContentType, str] = {
    "text": "chat text conversation extendedtext comment oversized",
    "image": "image",
    "video": "video gif ptv",
    "audio": "audio",
    "voice": "ptt voice",
    "document": "document documentwithcaption",
    "sticker": "sticker lottie.sticker lottiesticker sticker.pack stickerpack",
    "location": "location live.location livelocation",
    "contact": "vcard multi.vcard contact contacts contactsarray",
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
_TYPE_ENDING = re.compile(r"(?<=[a-z])message(?:v[0-9])?$")
_MAX_WORD = 64
_ACK = re.compile(r"\s*-?[0-9]{1,3}\s*")


def normalize_word(word: str) -> str:
    """Return a word as the tables spell it: lower case, with dots between its parts.

    A type of Baileys loses its ending: imageMessage is image, pollCreationMessageV3 pollcreation.
    """
    return _normalize(word[:_MAX_WORD])


def parse_status(value: Any) -> MessageStatus | None:
    """Return the status that a word or the number of an ack means, or None."""
    if isinstance(value, str) and not _ACK.fullmatch(value):
        return STATUSES.get(normalize_word(value))
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    ack = int(value)
    return "failed" if ack < 0 else ACK_STATUSES.get(ack)


@lru_cache(maxsize=4096)
def _normalize(word: str) -> str:
    plain = _SEPARATORS.sub(".", word.strip().lower())
    is_listener = plain.startswith("on") or "." in plain  # onrevokedmessage, messages.upsert
    return plain if is_listener else _TYPE_ENDING.sub("", plain)

"""Read the ids of a message: the platform's task id, and WhatsApp's id, often learned later.

WhatsApp's id has several spellings: the bare key (3EB0AA11), the key with direction and chat
(false_79990001122@c.us_3EB0AA11), which may end with a participant or a suffix, and objects.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from shared.webhooks.addresses import read_address
from shared.webhooks.fields import parse_id
from shared.webhooks.payload import Payload, is_event_id

MAX_LISTED = 1000
"""Messages that a status may list: a phone that was off for weeks reads many at once."""

_KEY = re.compile(
    r"(?:(true|false)_)?([^_@\s]+@[A-Za-z.]+)_([^_@\s]+)(?:_([^_@\s]+@[A-Za-z.]+))?(?:_(?:in|out))?"
)
"""WhatsApp Web's spelling of an id: own message or not, chat, key, in lists the participant, and
sometimes `in` or `out`. `wpp.message_id_parts` in the SQL reads the same."""
_WHATSAPP_ID = re.compile(
    r"(?:true|false)_|wamid\.|.*@(?:c\.us|s\.whatsapp\.net|lid|hosted)|[0-9A-F]{16,}$",
    re.IGNORECASE,
)
_OWN_FIELDS = (
    *("waMessageId", "wa_message_id", "messageId", "message_id", "id"),
    *("keyId", "messageID"),
)
_TARGET_PATHS = (
    *(("targetMessageId",), ("targetId",), ("reactedMessageId",), ("editedMessageId",)),
    *(("revokedMessageId",), ("deletedMessageId",), ("originalMessageId",), ("originalId",)),
    *(("protocolMessageKey",), ("protocolMessage", "key"), ("protocolMessageID",)),
    *(("reaction", "messageId"), ("reaction", "message_id"), ("reaction", "msgId")),
    *(("reaction", "key"), ("reaction", "id"), ("reactionMessage", "key")),
    *(("edit", "original_message_id"), ("edit", "messageId"), ("revoke", "original_message_id")),
    *(("edited", "id"), ("editedMessage", "key"), ("revoked", "id"), ("deleted", "id")),
    *(("before", "id"), ("before", "key"), ("_data", "protocolMessageKey")),
    *(("_data", "parentMsgKey"), ("_data", "msgId")),
    *(("parentMessageId",), ("parentMsgId",), ("parentMsgKey",), ("msgKey",), ("msgId",)),
    *(("refId",), ("waMessageId",), ("messageId",), ("message_id",), ("message", "id")),
    *(("taskId",), ("keyId",), ("id",), ("after", "id"), ("key",)),
)
"""Where an event names the message that it reacts to, edits or revokes, the most specific first."""
_EDIT_PATHS = (
    *(("editedMessageId",), ("edit", "original_message_id"), ("edit", "messageId")),
    *(("editedMessage", "key"), ("edited", "id")),
)
_QUOTE_PATHS = (
    *(("quotedMsgId",), ("quotedMessageId",), ("quotedStanzaID",), ("quotedStanzaId",)),
    *(("quotedMsgObj", "id"), ("quotedMsg", "id"), ("quotedMessage", "id"), ("quoted", "id")),
    *(("quoted", "key"), ("quotedMsgKey",), ("replyTo",), ("replyToMessageId",)),
    *(("replyMessageId",), ("repliedToId",), ("context", "id"), ("context", "message_id")),
    *(("context", "messageId"), ("contextInfo", "stanzaId"), ("contextInfo", "stanzaID")),
    *(("message", "replied_id"), ("repliedId",), ("_data", "quotedStanzaID")),
    *(("_data", "quotedMsgId"), ("context", "quotedMsgId")),
)
_EDIT_FIELDS = frozenset(path[0] for path in _EDIT_PATHS)
_QUOTE_FIELDS = frozenset(path[0] for path in _QUOTE_PATHS)


class MessageKey(NamedTuple):
    """What WhatsApp's id of a message says. The key alone is unique within its chat only."""

    key: str
    outgoing: bool | None = None
    chat: str | None = None
    participant: str | None = None


@dataclass(frozen=True)
class MessageIds:
    """The ids of a message. `all` also holds an id that may be of either kind."""

    task: str | None
    whatsapp: str | None
    all: tuple[str, ...]


@dataclass(frozen=True)
class MessageTarget:
    """An earlier message: its ids, and its direction and chat as far as its id names them."""

    ids: tuple[str, ...]
    outgoing: bool | None = None
    phone: str | None = None
    lid: str | None = None


@lru_cache(maxsize=1024)
def parse_key(name: str) -> MessageKey:
    """Return the parts of WhatsApp's id of a message.

    An id that is not entirely of that spelling is its own key: a part of it could be the same in
    two messages.
    """
    if "@" not in name or not (match := _KEY.fullmatch(name)):
        return MessageKey(name)
    outgoing = None if match[1] is None else match[1] == "true"
    return MessageKey(match[3], outgoing, match[2].lower(), match[4])


def read_message_ids(payload: Payload) -> MessageIds:
    """Return the ids of a message. An id is WhatsApp's unless its field says `task`."""
    task = _read_id(payload, "taskId", "task_id")
    return _build_ids(task, _read_id(payload, *_OWN_FIELDS))


def read_status_ids(payload: Payload) -> MessageIds:
    """Return the ids in a status. Beside a task id, `messageId` is WhatsApp's id, else either."""
    task = _read_id(payload, "taskId", "task_id")
    whatsapp = _read_id(payload, "waMessageId", "wa_message_id", "keyId")
    either = _read_id(payload, "messageId", "message_id", "msgId")
    if not (task or whatsapp or either):
        either = _read_id(payload, "id")  # beside the fields above it may be the status' own id
    if whatsapp is None and either and either != task and (task or _WHATSAPP_ID.match(either)):
        whatsapp = either
    return _build_ids(task, whatsapp, either)


def read_listed_ids(payload: Payload) -> list[MessageIds]:
    """Return the ids of each message that a status is about, in most cases of a single message."""
    names = payload.fields.get("messageIds") or payload.fields.get("ids")
    listed = names[:MAX_LISTED] if isinstance(names, list) else []
    messages = [read_status_ids(payload), *map(_parse_listed_id, listed)]
    return [ids for ids in messages if ids.all]


def read_target(payload: Payload) -> MessageTarget | None:
    """Return the message that a reaction, an edit or a revocation is about."""
    return _build_target(_read_path(payload.fields, _TARGET_PATHS))


def read_edit_target(fields: Mapping[str, Any]) -> str | None:
    """Return the id of the message that a message says it edits, or None."""
    if _EDIT_FIELDS.isdisjoint(fields):
        return None
    return next(_read_path(fields, _EDIT_PATHS), None)


def read_quoted_id(fields: Mapping[str, Any]) -> str | None:
    """Return the id of the message that a message answers, or None."""
    if _QUOTE_FIELDS.isdisjoint(fields):
        return None
    return next(_read_path(fields, _QUOTE_PATHS), None)


def describe_target(ids: tuple[str, ...]) -> MessageTarget:
    """Return what the ids of a message say about its direction and its chat."""
    keys = [key for key in map(parse_key, ids) if key.chat]
    if not keys:
        return MessageTarget(ids)
    key = keys[0]
    chat = read_address(key.chat or "")
    return MessageTarget(ids, key.outgoing, chat.phone, chat.lid)


def _build_target(names: Iterator[str]) -> MessageTarget | None:
    name = next(names, None)
    return describe_target((name,)) if name else None


def _read_path(fields: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    """Yield the ids at the paths, except those of events."""
    for path in paths:
        first, *further = path
        value = fields.get(first)
        if value is None:
            continue
        if further:
            value = value.get(further[0]) if isinstance(value, dict) else None
        found = parse_id(value) if value is not None else None
        if found and not is_event_id(found):
            yield found


def _parse_listed_id(value: Any) -> MessageIds:
    name = parse_id(value)
    return _build_ids(None, name if name and _WHATSAPP_ID.match(name) else None, name)


def _read_id(payload: Payload, *names: str) -> str | None:
    """Return the first of the named ids that is not the id of an event."""
    for name in names:
        found = parse_id(payload.fields[name]) if name in payload.fields else None
        if found and not is_event_id(found):
            return found
    return None


def _build_ids(task: str | None, whatsapp: str | None, either: str | None = None) -> MessageIds:
    distinct = dict.fromkeys(name for name in (task, whatsapp, either) if name)
    return MessageIds(task, whatsapp, tuple(distinct))

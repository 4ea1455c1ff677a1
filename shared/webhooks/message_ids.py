"""Read the ids of a message: the platform's task id, and WhatsApp's id, often learned later."""

import re
from dataclasses import dataclass
from typing import Any

from shared.webhooks.fields import parse_id
from shared.webhooks.payload import Payload, is_event_id

MAX_LISTED = 1000
"""Messages that a status may list: a phone that was off for weeks reads many at once."""

_WHATSAPP_ID = re.compile(r"(?:true|false)_|.*@(?:c\.us|s\.whatsapp\.net|lid)|[0-9A-F]{16,}$")
_TARGET_FIELDS = (
    "targetMessageId",
    "reactedMessageId",
    "originalMessageId",
    "parentMsgId",
    "parentMsgKey",
    "msgId",
    "refId",
    "waMessageId",
    "messageId",
    "message_id",
    "taskId",
    "id",
)
"""Fields that name the message of a reaction, an edit or a revocation, the most specific first."""


@dataclass(frozen=True)
class MessageIds:
    """The ids of a message. `all` also holds an id that may be of either kind."""

    task: str | None
    whatsapp: str | None
    all: tuple[str, ...]


def read_message_ids(payload: Payload) -> MessageIds:
    """Return the ids of a message. An id is WhatsApp's unless its field says `task`."""
    task = _read_id(payload, "taskId", "task_id")
    whatsapp = _read_id(payload, "waMessageId", "wa_message_id", "messageId", "message_id", "id")
    return _build_ids(task, whatsapp)


def read_status_ids(payload: Payload) -> MessageIds:
    """Return the ids in a status. Beside a task id, `messageId` is WhatsApp's id, else either."""
    task = _read_id(payload, "taskId", "task_id")
    whatsapp = _read_id(payload, "waMessageId", "wa_message_id")
    either = _read_id(payload, "messageId", "message_id")
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


def read_target_ids(payload: Payload) -> MessageIds:
    """Return the id of the message that a reaction, an edit or a revocation is about."""
    return _build_ids(None, None, _read_id(payload, *_TARGET_FIELDS))


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

"""The ids by which the platform names a message: its own queue's task id, and WhatsApp's, often learned later."""

import re
from dataclasses import dataclass

from shared.webhooks.payload import Payload, parse_id

_WHATSAPP = re.compile(r"(?:true|false)_|.*@(?:c\.us|s\.whatsapp\.net|lid)|[0-9A-F]{16,}$")
MAX_LISTED = 1000
"""Messages that one status may name: a phone that was off for weeks reads many at once."""

_TARGETS = (
    *(
        "targetMessageId",
        "reactedMessageId",
        "originalMessageId",
        "parentMsgId",
        "parentMsgKey",
        "msgId",
        "refId",
    ),
    *("waMessageId", "messageId", "message_id", "taskId", "id"),
)


@dataclass(frozen=True)
class MessageIds:
    task: str | None
    whatsapp: str | None
    every: tuple[str, ...]


def read_message_ids(shape: Payload) -> MessageIds:
    """Return the ids of a message that arrived: what names it is WhatsApp's, unless it says task."""
    task = _id(shape, "taskId", "task_id")
    whatsapp = _id(shape, "waMessageId", "wa_message_id", "messageId", "message_id", "id")
    return _ids(task, whatsapp)


def read_status_ids(shape: Payload) -> MessageIds:
    """Return the ids in a status. `messageId` may be either of the two: beside a task's id it is WhatsApp's."""
    task = _id(shape, "taskId", "task_id")
    whatsapp = _id(shape, "waMessageId", "wa_message_id")
    named = _id(shape, "messageId", "message_id")
    if not (task or whatsapp or named):
        named = _id(shape, "id")  # beside the others it may as well be the status' own
    if whatsapp is None and named and named != task and (task or _WHATSAPP.match(named)):
        whatsapp = named
    return _ids(task, whatsapp, named)


def read_listed_ids(shape: Payload) -> list[MessageIds]:
    """Return the ids of each message that a status is about, most often of one."""
    names = shape.fields.get("messageIds") or shape.fields.get("ids")
    listed = [parse_id(name) for name in (names[:MAX_LISTED] if isinstance(names, list) else ())]
    several = [
        read_status_ids(shape),
        *(_ids(None, name if _WHATSAPP.match(name) else None, name) for name in listed if name),
    ]
    return [one for one in several if one.every]


def read_target_ids(shape: Payload) -> MessageIds:
    """Return the id of the message that a reaction, an edit or a revocation is about."""
    target = _id(shape, *_TARGETS)
    return _ids(None, None, target)


def _id(shape: Payload, *names: str) -> str | None:
    """Return the first of the named ids; an event's own id names no message."""
    found = (parse_id(shape.fields[name]) for name in names if name in shape.fields)
    return next((name for name in found if name and not name.startswith("evt_")), None)


def _ids(task: str | None, whatsapp: str | None, *more: str | None) -> MessageIds:
    return MessageIds(
        task, whatsapp, tuple(dict.fromkeys(name for name in (task, whatsapp, *more) if name))
    )

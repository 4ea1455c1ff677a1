"""The ids by which the platform names a message: its own queue's task id, and WhatsApp's, often learned later."""

import re
from dataclasses import dataclass

from shared.shapes import Shape, identifier

_WHATSAPP = re.compile(r"(?:true|false)_|.*@(?:c\.us|s\.whatsapp\.net|lid)|[0-9A-F]{16,}$")
_TARGETS = (
    *("targetMessageId", "reactedMessageId", "originalMessageId", "parentMsgId", "parentMsgKey", "msgId", "refId"),
    *("waMessageId", "messageId", "message_id", "taskId", "id"),
)


@dataclass(frozen=True)
class Ids:
    task: str | None
    whatsapp: str | None
    every: tuple[str, ...]


def of_message(shape: Shape) -> Ids:
    """Return the ids of a message that arrived: what names it is WhatsApp's, unless it says task."""
    task = _id(shape, "taskId", "task_id")
    whatsapp = _id(shape, "waMessageId", "wa_message_id", "messageId", "message_id", "id")
    return _ids(task, whatsapp)


def of_status(shape: Shape) -> Ids:
    """Return the ids in a status. `messageId` may be either of the two: beside a task's id it is WhatsApp's."""
    task = _id(shape, "taskId", "task_id")
    whatsapp = _id(shape, "waMessageId", "wa_message_id")
    named = [name for field in ("messageId", "message_id", "id") if (name := _id(shape, field))]
    several = shape.fields.get("messageIds") or shape.fields.get("ids")
    named += [name for item in (several[:100] if isinstance(several, list) else ()) if (name := identifier(item))]
    for name in named:
        if whatsapp is None and name != task and (_WHATSAPP.match(name) or (task and name != _id(shape, "id"))):
            whatsapp = name
    return _ids(task, whatsapp, *named)


def of_target(shape: Shape) -> Ids:
    """Return the id of the message that a reaction, an edit or a revocation is about."""
    target = _id(shape, *_TARGETS)
    return _ids(None, None, target)


def _id(shape: Shape, *names: str) -> str | None:
    """Return the first of the named ids; an event's own id names no message."""
    found = (identifier(shape.fields.get(name)) for name in names)
    return next((name for name in found if name and not name.startswith("evt_")), None)


def _ids(task: str | None, whatsapp: str | None, *more: str | None) -> Ids:
    return Ids(task, whatsapp, tuple(dict.fromkeys(name for name in (task, whatsapp, *more) if name)))

"""The events that clients read: what happened to the messages and numbers of an organization.

Streams send them and callbacks post them, in the same form and with the same ids. The ids of an
organization rise in the order of its events (supabase/migrations/…_events.sql).
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

FeedEventType = Literal[
    "message.received",
    "message.queued",
    "message.sent",
    "message.delivered",
    "message.read",
    "message.failed",
    "message.unknown",
    "message.deleted",
    "message.edited",
    "message.reaction",
    "number.starting",
    "number.qr_issued",
    "number.connected",
    "number.degraded",
    "number.disconnected",
    "number.error",
    "number.paused",
    "number.resumed",
]
EVENT_TYPES: tuple[str, ...] = get_args(FeedEventType)
Wanted = Literal[FeedEventType, "message.*", "number.*"]
"""What a client may ask for: a type, or all types of messages or of numbers."""

MARK = "evt_"
EventId = Annotated[str, StringConstraints(pattern=r"^evt_[0-9]{1,18}$")]


class FeedEvent(BaseModel):
    """An event. `data` depends on the type."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: int
    type: str
    timestamp: datetime = Field(description="When it happened; the platform's time, if known.")
    data: dict[str, Any]

    @property
    def conversation(self) -> str:
        """What keeps its order: the conversation of a message, or a number."""
        number, phone = self.data.get("integration_id"), self.data.get("phone")
        return f"{number}:{phone or ''}"

    @cached_property
    def json_text(self) -> str:
        """The event as clients get it."""
        return json.dumps(
            {
                "id": format_id(self.id),
                "type": self.type,
                "timestamp": self.timestamp.isoformat(),
                "data": self.data,
            },
            separators=(",", ":"),
        )


class FeedPage(BaseModel):
    """Events after a position, the oldest first.

    `last` is the position after them. A position below `floor` has a gap: events after it were
    deleted for their age. `more`: events follow.
    """

    events: list[FeedEvent]
    last: int
    floor: int
    more: bool

    def is_gap_after(self, position: int) -> bool:
        """Return whether events after a position are missing, or no event has reached it."""
        return position < self.floor or position > self.last


@dataclass(frozen=True)
class EventFilter:
    """Which events a client wants; an empty field allows all."""

    types: Collection[str] = ()
    integration_id: str = ""
    phone: str = ""

    def allows(self, event: FeedEvent) -> bool:
        group = event.type.partition(".")[0] + ".*"
        if self.types and not {event.type, group} & set(self.types):
            return False
        if self.integration_id and event.data.get("integration_id") != self.integration_id:
            return False
        return not self.phone or event.data.get("phone") == self.phone


def format_id(number: int) -> str:
    """Return the id of an event as clients see it."""
    return f"{MARK}{number}"


def parse_id(text: str) -> int:
    """Return the number in the id of an event.

    Raises:
        ValueError: it is no such id.
    """
    if not re.fullmatch(r"evt_[0-9]{1,18}", text):
        msg = "not the id of an event, such as evt_1234"
        raise ValueError(msg)
    return int(text.removeprefix(MARK))

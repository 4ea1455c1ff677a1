"""Request and response bodies of /v1/messages; a new message is shared.events.Message."""

from datetime import datetime
from typing import Any, Literal, Self, cast, get_args
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from shared import routing
from shared.events import SendEvent, StrictModel
from shared.lanes.records import Record
from shared.outcomes import ContentType, Substitute
from shared.platform.payloads import list_substitutes

SUBSTITUTES = (
    "What the recipient gets where the platform has no call for it. `caption_as_text`: the caption "
    "follows its file as a text. `contact_as_text`: name and phones. `map_link`: a text with a "
    "link to a map; it appears when the platform was found to take no location. `quoted_text`: the "
    "first lines of the answered message, above the text. `voice_as_file`: an audio file."
)
SendStatus = Literal[
    "scheduled",
    "queued",
    "sent",
    "delivered",
    "read",
    "failed",
    "cancelled",
    "unknown",
    "deleted",
]
"""The status of a message that goes out."""
ROW_STATUS = {"scheduled": "queued", "cancelled": "failed"}
"""The status that its row has where the CRM's pages do not know its own."""


class AcceptedMessage(BaseModel):
    """A message that was accepted."""

    id: UUID = Field(description="Id of the message, for `GET /v1/messages/{id}`.")
    status: SendStatus = Field(
        default="queued",
        description="`queued`, or `scheduled` with a later date; for a repeated request, the "
        "present status of the message.",
    )
    integration_id: UUID | None = Field(
        default=None,
        description="Integration that sends it: the one named, or the one that was chosen. Null "
        "for a repeated request whose message has no row yet.",
    )
    substitutes: list[Substitute] = Field(default=[], description=SUBSTITUTES)


class MessageResolution(StrictModel):
    """The decision about a message of status `unknown`."""

    outcome: Literal["sent", "failed", "again"] = Field(
        description="`sent`: it was delivered. `failed`: it was not. `again`: send it once more."
    )


class MessageState(BaseModel):
    """The status of a message."""

    id: UUID
    kind: ContentType | None = Field(default=None, description="What was sent; null: not known.")
    substitutes: list[Substitute] = Field(default=[], description=SUBSTITUTES)
    status: SendStatus = Field(
        description="`scheduled`: it waits for its date, `send_at`. `cancelled`: it was taken back "
        "while it waited, and is never sent. `unknown`: the platform's answer was lost, so the "
        "message may or may not have been sent; see `POST /v1/messages/{id}/resolution`."
    )
    integration_id: UUID | None = Field(
        default=None, description="Integration that sends it, as far as that is known."
    )
    task_id: str | None = Field(default=None, description="Id of the message at the platform.")
    reason: str | None = Field(
        default=None,
        description="Why it waits or failed, or what of it could not be sent: a sentence.",
    )
    code: str | None = Field(
        default=None, description="Why it failed, as a name: `refused`, `expired`, `not_found`, …"
    )
    earliest_at: datetime | None = Field(
        default=None,
        description="When it can go out at the earliest, while it waits its turn: see "
        "`GET /v1/pacing`. Another reason may hold it for longer.",
    )
    attempts: int | None = Field(default=None, description="How often sending was attempted.")
    accepted_at: datetime | None = None
    send_at: datetime | None = Field(
        default=None, description="The date for which it was accepted; absent: at once."
    )
    settled_at: datetime | None = Field(
        default=None, description="When sending ended: sent, failed, cancelled or unknown."
    )

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Read the record of a send event."""
        return cls.model_validate(
            {
                "id": record.id,
                "status": "queued" if record.state == "claimed" else record.state,
                "integration_id": routing.read_integration_id(record.lane),
                "task_id": record.task_id,
                "reason": record.reason,
                **(_read_event(record.body) if record.body else {}),
                "code": record.code if record.state in {"failed", "cancelled"} else None,
                "earliest_at": record.earliest if record.state == "queued" else None,
                "attempts": record.attempts,
                "accepted_at": record.accepted,
                "send_at": record.send_at,
                "settled_at": record.settled,
            }
        )


def read_kind(content: object) -> ContentType:
    """Return the kind of a stored message by its `metadata.content`, which users may write."""
    return cast("ContentType", content) if content in get_args(ContentType) else "text"


def read_substitutes(found: object) -> list[Substitute]:
    """Return the substitutes of a stored message by its metadata."""
    listed = found if isinstance(found, list) else []
    return [each for each in listed if each in get_args(Substitute)]


def _read_event(body: bytes) -> dict[str, Any]:
    """Return kind and substitutes of an event that is not settled yet."""
    try:
        event = SendEvent.model_validate_json(body)
    except ValidationError:  # of another version
        return {}
    return {"kind": routing.find_content(event), "substitutes": list_substitutes(event)}

"""Request and response bodies of /v1/messages; a new message is shared.events.Message."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from shared.events import StrictModel
from shared.lanes.records import Record
from shared.outcomes import MessageStatus


class AcceptedMessage(BaseModel):
    """A message that was accepted."""

    id: UUID = Field(description="Id of the message, for `GET /v1/messages/{id}`.")
    status: MessageStatus = Field(
        default="queued",
        description="`queued`; for a repeated request, the present status of the message.",
    )


class MessageResolution(StrictModel):
    """The decision about a message of status `unknown`."""

    outcome: Literal["sent", "failed", "again"] = Field(
        description="`sent`: it was delivered. `failed`: it was not. `again`: send it once more."
    )


class MessageState(BaseModel):
    """The status of a message."""

    id: UUID
    status: MessageStatus = Field(
        description="`unknown`: the platform's answer was lost, so the message may or may not "
        "have been sent; see `POST /v1/messages/{id}/resolution`."
    )
    task_id: str | None = Field(default=None, description="Id of the message at the platform.")
    reason: str | None = Field(
        default=None, description="Why it waits or failed, as a sentence for people."
    )
    code: str | None = Field(
        default=None, description="Why it failed, as a name: `refused`, `expired`, `not_found`, …"
    )
    attempts: int | None = Field(default=None, description="How often sending was attempted.")
    accepted_at: datetime | None = None
    settled_at: datetime | None = Field(
        default=None, description="When sending ended: sent, failed or unknown."
    )

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Read the record of a send event."""
        return cls.model_validate(
            {
                "id": record.id,
                "status": "queued" if record.state == "claimed" else record.state,
                "task_id": record.task_id,
                "reason": record.reason if record.state != "sent" else None,
                "code": record.code if record.state == "failed" else None,
                "attempts": record.attempts,
                "accepted_at": record.accepted,
                "settled_at": record.settled,
            }
        )

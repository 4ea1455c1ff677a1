"""Rows of Supabase, as the pipeline reads them: small, frozen, without a secret."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from shared.outcomes import SessionStatus, Status
from shared.phones import DEFAULT_REGION


class Row(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )


class Refused(Row):
    """An outcome that Supabase will never take: by now it is a dead letter. `row` is its index in the batch."""

    row: int
    why: str


class Applied(Row):
    """What became of a batch.

    `changed`: {"organization_id", "integration_id", "what": "session" | "message"} each, once. `busy`: the indexes of
    outcomes that somebody else's lock is in the way of; they are to be applied later.
    """

    changed: Sequence[dict[str, Any]]
    refused: Sequence[Refused] = ()
    busy: Sequence[int] = ()


class Integration(Row):
    """One connected number, and the state of its session."""

    id: UUID
    organization_id: UUID
    name: str
    account: str = Field(description="Empty while it has none.")
    sub_org_id: str | None = None
    is_primary: bool
    is_enabled: bool
    last_error: str | None = None
    last_error_at: datetime | None = None
    created_at: datetime | None = None
    status: SessionStatus
    status_at: datetime | None = None
    status_reason: str | None = None
    qr: str | None = None
    qr_at: datetime | None = None
    last_inbound_at: datetime | None = None
    last_ack_at: datetime | None = None
    awaited_since: datetime | None = Field(
        default=None, description="A message went out; nothing was heard since."
    )
    region: str = Field(
        default=DEFAULT_REGION, description="Whose numbers its organization writes without a code."
    )

    @field_validator("account", mode="before")
    @classmethod
    def _none_yet(cls, value: object) -> object:
        return value or ""

    @field_validator("status", mode="before")
    @classmethod
    def _known_word(cls, value: object) -> object:
        """An integration that was never started has no session; the old system said `pairing`, and more."""
        word = "starting" if value == "pairing" else value
        return word if word in get_args(SessionStatus) else "disconnected"

    @field_validator("is_primary", "is_enabled", mode="before")
    @classmethod
    def _as_the_columns_default(cls, value: object, field: ValidationInfo) -> object:
        """Rows older than these columns have neither."""
        return field.field_name == "is_enabled" if value is None else value


class SessionChange(Row):
    """One change of a number's state, with why it came about."""

    status: str
    reason: str
    error: str | None = None
    account: str
    at: datetime


class StatusChange(Row):
    """One thing that was said of a message: by us (`own`), or by the platform."""

    status: Status
    at: datetime
    source: Literal["own", "platform"]
    error: str | None = None


class StoredMessage(Row):
    """One row of chat_messages."""

    id: UUID
    organization_id: UUID
    client_id: UUID | None
    teacher_id: UUID | None
    integration_id: UUID | None
    outgoing: bool = Field(alias="is_outgoing")
    text: str = Field(alias="message_text")
    status: Status = Field(alias="message_status")
    external_message_id: str | None
    file_url: str | None
    file_name: str | None
    file_type: str | None
    metadata: dict[str, Any]
    created_at: datetime

    @field_validator("metadata", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return value or {}

    @field_validator("status", mode="before")
    @classmethod
    def _known_word(cls, value: object) -> object:
        """Rows older than this pipeline: without a status, or of a recipient who has no WhatsApp."""
        return {None: "sent", "noAccount": "failed"}.get(_word(value), value)


class DeadLetter(Row):
    """An event that ended without success. `event` is the whole of it, to be replayed."""

    id: UUID
    organization_id: UUID | None
    account: str | None
    kind: str
    lane: str
    reason: str
    detail: str
    attempts: int
    accepted_at: datetime
    at: datetime
    event: dict[str, Any]
    replayed_at: datetime | None


class DeadLetterQuery(Row):
    """Which dead letters: all given conditions together, `since` <= at < `until`."""

    ids: Sequence[UUID] | None = Field(default=None, max_length=200)
    organization_id: UUID | None = None
    account: str | None = None
    kind: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    replayed: bool = Field(default=False, description="Also those that were replayed already.")
    limit: int = Field(default=100, gt=0, le=1000)

    def equal(self) -> dict[str, str]:
        wanted = {"organization_id", "account", "kind", "reason"}
        return self.model_dump(mode="json", include=wanted, exclude_none=True)


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None

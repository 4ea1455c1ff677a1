"""Rows of Supabase as the pipeline reads them: frozen, and without secrets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from shared import qr_pictures
from shared.outcomes import MessageStatus, SessionStatus, SetAside
from shared.phones import DEFAULT_REGION
from shared.stored_times import ClampedTime, StoredTime


class Row(BaseModel):
    """The base of every row."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )


class Refused(Row):
    """A refused outcome, which is a dead letter now. `row` is its index in the batch."""

    row: int
    why: str
    reason: Literal["refused", "organization_deleted"] = "refused"


class Applied(Row):
    """The result of a batch.

    `changed`: what changed, each once: {"organization_id", "integration_id", "what": "session" |
    "message"}. `set_aside`: the organizations that were set aside by this batch. `waiting`: the
    number of its outcomes that wait with them.
    """

    changed: Sequence[dict[str, Any]]
    refused: Sequence[Refused] = ()
    set_aside: Sequence[SetAside] = ()
    waiting: int = 0


class ClaimedOutcomes(Row):
    """Outcomes of an organization that was set aside, claimed for another try."""

    owner: str
    rows: Sequence[int]


class SetAsideClaim(Row):
    """What is set aside, and the claim of those that are due, if any.

    `due_in_s`: when the next try is due; None while no organization is set aside.
    """

    claimed: ClaimedOutcomes | None
    set_aside: Sequence[SetAside]
    due_in_s: float | None


class Retried(Row):
    """The result of another try: the reasons of those refused, and the numbers of the rest."""

    changed: Sequence[dict[str, Any]]
    refused: Sequence[str]
    applied: int
    left: int


class Integration(Row):
    """A connected WhatsApp number and the state of its session."""

    id: UUID
    organization_id: UUID
    name: str
    account: str = Field(description="Empty until it has an account.")
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
        default=None,
        description="When a message went out that the platform has not reported about yet.",
    )
    region: str = Field(
        default=DEFAULT_REGION,
        description="The country whose phone numbers are written without a country code.",
    )
    phone: str | None = Field(None, description="The connected phone's number, once it is known.")

    @field_validator("qr", mode="before")
    @classmethod
    def _read_code(cls, value: object) -> object:
        return qr_pictures.read_stored(value) if isinstance(value, str) else value

    @field_validator("account", mode="before")
    @classmethod
    def _fill_account(cls, value: object) -> object:
        return value or ""

    @field_validator("status", mode="before")
    @classmethod
    def _map_session_status(cls, value: object) -> object:
        """Map a missing session, and words of the old system (`pairing`), to known states."""
        word = "starting" if value == "pairing" else value
        return word if word in get_args(SessionStatus) else "disconnected"

    @field_validator("is_primary", "is_enabled", mode="before")
    @classmethod
    def _fill_default(cls, value: object, field: ValidationInfo) -> object:
        """Fill in the column's default in rows that are older than the column."""
        return field.field_name == "is_enabled" if value is None else value


class NumberPacing(Row):
    """The pacing of a number: its own settings, and these over those of its organization.

    `warm_up_from`: when its warm-up began; None: it has none.
    """

    integration_id: UUID
    own: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    warm_up_from: datetime | None = None


class MessengerRow(Row):
    """A row of messenger_integrations, of any provider."""

    id: UUID
    organization_id: UUID
    messenger_type: str
    provider: str
    name: str
    is_primary: bool
    is_enabled: bool
    webhook_key: str | None = None
    settings: dict[str, Any]
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @field_validator("settings", mode="before")
    @classmethod
    def _fill_settings(cls, value: object) -> object:
        return value if isinstance(value, dict) else {}

    @field_validator("is_primary", "is_enabled", mode="before")
    @classmethod
    def _fill_flag(cls, value: object, field: ValidationInfo) -> object:
        return field.field_name == "is_enabled" if value is None else value


class Contact(Row):
    """A client or a teacher."""

    id: UUID
    organization_id: UUID | None
    phone: str | None = None


class FoundRecipient(Row):
    """What is stored about a recipient of a message: the `n`-th that was looked up."""

    n: int
    has_client: bool
    has_teacher: bool
    phone: str | None
    last_integration_id: UUID | None
    """The integration on which this contact wrote last; None where that was not asked for."""


class SessionChange(Row):
    """A change of a session's state, with its reason."""

    status: str
    reason: str
    error: str | None = None
    account: str
    at: datetime


class StoredMessage(Row):
    """A row of chat_messages."""

    id: UUID
    organization_id: UUID
    client_id: UUID | None
    teacher_id: UUID | None
    integration_id: UUID | None
    outgoing: bool = Field(alias="is_outgoing")
    text: str = Field(alias="message_text")
    status: MessageStatus = Field(alias="message_status")
    external_message_id: str | None
    file_url: str | None
    file_name: str | None
    file_type: str | None
    metadata: dict[str, Any]
    created_at: ClampedTime

    @field_validator("outgoing", mode="before")
    @classmethod
    def _fill_direction(cls, value: object) -> object:
        return value or False

    @field_validator("metadata", mode="before")
    @classmethod
    def _fill_metadata(cls, value: object) -> object:
        return value if isinstance(value, dict) else {}

    @field_validator("status", mode="before")
    @classmethod
    def _map_message_status(cls, value: object) -> object:
        """Map rows of the old system: no status, or `noAccount`, a recipient without WhatsApp."""
        return {None: "sent", "noAccount": "failed"}.get(_word(value), value)


class DeadLetter(Row):
    """An event that ended without success. `event` is the whole event, for a replay."""

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
    closed_by: str | None = None
    """Who put it back or dropped it, at `replayed_at`."""
    dropped_why: str | None = None
    """Why it was dropped; None: it was not."""


class DeadLetterQuery(Row):
    """A filter of dead letters: all given conditions hold, and `since` <= at < `until`."""

    ids: Sequence[UUID] | None = Field(default=None, max_length=200)
    organization_id: UUID | None = None
    account: str | None = None
    number: UUID | None = Field(default=None, description="The integration that should send.")
    kind: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    replayed: bool = Field(
        default=False, description="Whether letters match that were replayed or dropped."
    )
    limit: int = Field(default=100, gt=0, le=1000)

    def equal(self) -> dict[str, str]:
        """Return the columns that must equal a value."""
        wanted = {"organization_id", "account", "kind", "reason"}
        found: dict[str, str] = self.model_dump(mode="json", include=wanted, exclude_none=True)
        return found | ({"event->>integration_id": str(self.number)} if self.number else {})


class LoggedEvent(Row):
    """A logged webhook. `at` is when it was accepted, `became` names its result."""

    id: UUID
    organization_id: UUID | None = None
    account: str
    event_type: str
    payload: dict[str, Any]
    became: str
    error: str | None
    at: datetime


class LogQuery(Row):
    """A filter of logged webhooks: all given conditions hold, and `since` <= at < `until`."""

    ids: Sequence[UUID] | None = Field(default=None, max_length=200)
    organization_id: UUID | None = None
    account: str | None = None
    event_type: str | None = None
    became: str | None = None
    unrecognized: bool = Field(
        default=False, description="Whether to leave out what the pipeline understood."
    )
    since: datetime | None = None
    until: datetime | None = None


class SearchHit(Row):
    """Something that an operator's text names. `id` of a conversation is its phone or hidden id."""

    kind: Literal[
        "message", "dead_letter", "webhook", "callback", "organization", "number", "conversation"
    ]
    id: str
    organization_id: UUID | None
    organization: str | None = None
    title: str | None = None
    at: StoredTime = None


class OrphanReport(Row):
    """A status report of the platform that names no message of ours: a parked outcome."""

    account: str
    external_ids: Sequence[str]
    task_id: str | None = None
    wa_message_id: str | None = None
    status: MessageStatus
    at: datetime
    arrived_at: datetime


class UnnamedMessage(Row):
    """A message of ours that lacks an id: a report without a name may be about it."""

    account: str
    id: UUID
    phone: str
    status: MessageStatus
    created_at: ClampedTime
    lacks_task_id: bool
    lacks_wa_message_id: bool


class Evidence(Row):
    """Orphan reports of accounts that have messages of unknown delivery, and their messages."""

    reports: Sequence[OrphanReport]
    messages: Sequence[UnnamedMessage]


class UnrecognizedType(Row):
    """Logged webhooks of a type that became the same, for want of understanding.

    `event_id` and `payload` are of the latest.
    """

    event_type: str
    became: str
    events: int
    last_at: datetime
    event_id: UUID
    payload: dict[str, Any]


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


class UploadedFile(Row):
    """A file that was uploaded for messages. `size` is in bytes, `path` its place in Storage."""

    id: UUID
    organization_id: UUID
    path: str
    name: str
    mime: str
    size: int
    sha256: str
    created_at: datetime
    used_at: datetime | None = None


class ServiceKey(Row):
    """A key with which a service calls the API, and what it may do."""

    id: UUID
    name: str
    organization_ids: Sequence[UUID]
    actions: Sequence[str]


class OperatorKey(Row):
    """A key with which a person signs in to the console."""

    id: UUID
    name: str


class StoredOperatorKey(OperatorKey):
    """A key as an operator sees it; `hash` is the SHA-256 of the key."""

    hash: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class StoredServiceKey(ServiceKey):
    """A key as an operator sees it; `hash` is the SHA-256 of the key."""

    hash: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

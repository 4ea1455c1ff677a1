"""Request and response bodies of /v1/integrations."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self, cast
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from shared.causes import Cause, NumberChange, find_cause
from shared.database import Integration
from shared.database.models import SessionChange
from shared.events import StrictModel
from shared.lanes.records import Record
from shared.outcomes import SessionStatus
from shared.platform.models import QrCode

PATH = "/v1/integrations"
QR_TTL_S = 25.0
"""How long a QR code counts as valid: WhatsApp shows a new QR code every 20 s."""

NextStep = Literal["wait", "scan", "reconnect", "force_recreate"]

NEXT_STEPS: dict[SessionStatus, NextStep | None] = {
    "starting": "wait",
    "qr_issued": "scan",
    "connected": None,
}
ADVICE: dict[NextStep, str] = {
    "wait": "The integration is starting; its QR code follows in a few seconds.",
    "scan": "Scan the QR code: WhatsApp on the phone, Linked devices, Link a device.",
    "reconnect": "Reconnect it with POST /v1/integrations/{id}/reconnect, "
    "then scan the QR code if there is one.",
    "force_recreate": "Its API key is no longer valid: create a new one with "
    "POST /v1/integrations and force_recreate.",
}


def _require_printable(text: str) -> str:
    if not text.isprintable():
        msg = "a name has no control characters"
        raise ValueError(msg)
    return text


IntegrationName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_require_printable),
]


class ConnectIntegration(StrictModel):
    """Which integration to connect. Default: the organization's first, or a new integration."""

    add_new: bool = Field(
        default=False, description="Create a further integration, even if there is one."
    )
    force_recreate: bool = Field(
        default=False,
        description="Create a new API key for the same integration, if the old one is refused.",
    )
    integration_id: UUID | None = Field(
        default=None, description="The integration to connect, if there are several."
    )
    name: IntegrationName | None = Field(
        default=None, description="Name of a new integration, for people.", examples=["Reception"]
    )


class UpdateIntegration(StrictModel):
    """The changes of an integration. An absent field stays as it is."""

    name: IntegrationName | None = Field(
        default=None, description="Its new name, for people.", examples=["Reception"]
    )
    is_enabled: bool | None = Field(
        default=None, description="A disabled integration sends no messages."
    )

    @model_validator(mode="after")
    def _require_change(self) -> Self:
        if self.name is None and self.is_enabled is None:
            msg = "give a name or is_enabled"
            raise ValueError(msg)
        return self


class IntegrationState(BaseModel):
    """A connected WhatsApp number of an organization."""

    success: bool = Field(default=True, description="False if the status is `error`.")
    status: SessionStatus
    qrcode: str | None = Field(
        default=None,
        description="The QR code to scan: a pairing string, or an image as a data: URL.",
    )
    integration_id: UUID
    account_number: str | None = Field(
        default=None, description="Id of the account at the platform; not a phone number."
    )
    phone: str | None = Field(
        default=None,
        description="The connected phone's number, international digits, once it is known.",
        examples=["79990001122"],
    )
    qr_issued_at: datetime | None = None
    qr_expires_at: datetime | None = None
    name: str | None = None
    is_primary: bool | None = Field(
        default=None, description="Whether messages that name no integration use this one."
    )
    is_enabled: bool | None = Field(
        default=None, description="A disabled integration sends no messages."
    )
    closing: bool = Field(default=False, description="Whether it is being disconnected.")
    status_at: datetime | None = Field(default=None, description="When the status last changed.")
    reason: str | None = Field(
        default=None, description="Why it has this status; for an error, the name of the error."
    )
    cause: Cause = Field(
        default="starting",
        description="Why it has this status, as a name. `platform_away` with status `connected`: "
        "the platform does not answer, so messages wait.",
    )
    cause_at: datetime | None = Field(default=None, description="Since when, if it is known.")
    error: str | None = Field(default=None, description="What is wrong, as a sentence for people.")
    error_at: datetime | None = None
    next_step: NextStep | None = Field(default=None, description="What the organization has to do.")
    advice: str | None = Field(default=None, description="The next step, as a sentence for people.")
    last_inbound_at: datetime | None = Field(
        default=None, description="When a message was last received."
    )
    last_ack_at: datetime | None = Field(
        default=None, description="When the delivery of a sent message was last confirmed."
    )
    created_at: datetime | None = None

    @property
    def has_valid_qr(self) -> bool:
        expires = self.qr_expires_at
        return self.status == "qr_issued" and expires is not None and expires > datetime.now(UTC)

    @classmethod
    def from_row(cls, row: Integration) -> Self:
        """Read a row of Supabase."""
        issued = row.qr_at if row.qr else None
        error = _find_present_error(row)
        hint = status_hint(row.status, row.status_reason)
        if error and row.status in {"connected", "degraded"}:  # found out while sending
            hint |= {"cause": "key_refused", **_advise("force_recreate")}
        return cls(
            success=row.status != "error",
            status=row.status,
            qrcode=QrCode.read(row.qr),
            qr_issued_at=issued,
            qr_expires_at=issued + timedelta(seconds=QR_TTL_S) if issued else None,
            integration_id=row.id,
            account_number=row.account or None,
            phone=row.phone,
            name=row.name,
            is_primary=row.is_primary,
            is_enabled=row.is_enabled,
            status_at=row.status_at,
            cause_at=row.last_error_at if error and row.status != "error" else row.status_at,
            error=error,
            error_at=row.last_error_at if error else None,
            last_inbound_at=row.last_inbound_at,
            last_ack_at=row.last_ack_at,
            created_at=row.created_at,
            **hint,
        )

    @classmethod
    def from_record(cls, integration_id: UUID, record: Record) -> Self:
        """Read the record of the event that creates an integration which has no row yet."""
        if record.state != "failed":
            return cls(
                integration_id=integration_id,
                status="starting",
                created_at=record.accepted,
                **status_hint("starting", record.reason),
            )
        return cls(
            integration_id=integration_id,
            success=False,
            status="error",
            error=record.reason,
            error_at=record.settled,
            created_at=record.accepted,
            **status_hint("error", record.code),
        )

    def as_starting(self, reason: str | None) -> Self:
        """Return this state without what a connect that is in progress has made obsolete."""
        obsolete = ("qrcode", "qr_issued_at", "qr_expires_at", "error", "error_at", "cause_at")
        return self.model_copy(
            update={
                **dict.fromkeys(obsolete),
                **status_hint("starting", reason),
                "success": True,
                "status": "starting",
            }
        )


class SessionState(SessionChange):
    """A status that an integration had, with its reason."""

    cause: Cause = Field(description="Why, as a name.")

    @classmethod
    def from_change(cls, change: SessionChange) -> Self:
        status = cast("NumberChange", change.status)
        return cls(**change.model_dump(), cause=find_cause(status, change.reason))


def status_hint(status: SessionStatus, reason: str | None = None) -> dict[str, Any]:
    """Return reason, cause, next step and advice; the `reason` of an error is its code."""
    cause = find_cause(status, reason)
    step = NEXT_STEPS.get(status, "reconnect")
    if cause == "key_refused":
        step = "force_recreate"
    return {"reason": reason, "cause": cause, **_advise(step)}


def _advise(step: NextStep | None) -> dict[str, Any]:
    return {"next_step": step, "advice": ADVICE[step] if step else None}


def _find_present_error(row: Integration) -> str | None:
    """Return the error of a row, unless a later state of its session has made it obsolete."""
    if row.status == "error" or not (row.last_error_at and row.status_at):
        return row.last_error
    return row.last_error if row.last_error_at > row.status_at else None

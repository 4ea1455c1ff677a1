"""What an organization may see of its numbers: state, code, signs of life, what is wrong and what to do about it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from shared.database import Integration
from shared.errors import InvalidApiKeyError, NotFoundError
from shared.lanes.records import Record
from shared.platform.models import QrCode
from workers.ingress.deps import Doorway
from workers.ingress.integrations import pending as marks

PATH = "/v1/integrations"
QR_LIFE_S = 25.0
"""How long a code is taken for valid: WhatsApp shows a new one every 20 s."""
SETTLED = ("connected", "qr_issued", "starting")


def _readable(text: str) -> str:
    if not text.isprintable():
        msg = "a name has no control characters"
        raise ValueError(msg)
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_readable),
]
Status = Literal["qr_issued", "connected", "starting", "degraded", "disconnected", "error"]
NextStep = Literal["wait", "scan", "reconnect", "force_recreate"]

STEPS: dict[Status, NextStep | None] = {"starting": "wait", "qr_issued": "scan", "connected": None}
ADVICE: dict[NextStep, str] = {
    "wait": "The number is being prepared; its code follows in some seconds.",
    "scan": "Scan the code: WhatsApp on the phone, Linked devices, Link a device.",
    "reconnect": "Connect it again: POST /v1/integrations/{id}/reconnect, then scan the code if one is shown.",
    "force_recreate": "Its key is no longer valid: POST /v1/integrations with force_recreate makes a new one.",
}


class IntegrationState(BaseModel):
    """One number, as its organization may see it: no key, no token."""

    success: bool = Field(default=True, description="False: it ended in an error, which is told.")
    status: Status
    qrcode: str | None = Field(
        default=None, description="What to scan: a pairing string, or an image as data: URL."
    )
    integration_id: UUID
    account_number: str | None = Field(
        default=None, description="The platform's id of it; not a phone number."
    )
    qr_issued_at: datetime | None = None
    qr_expires_at: datetime | None = None
    name: str | None = None
    is_primary: bool | None = None
    is_enabled: bool | None = None
    closing: bool = Field(default=False, description="It is being disconnected.")
    status_at: datetime | None = None
    reason: str | None = Field(
        default=None, description="Why it is in this state; of an error, its code."
    )
    error: str | None = Field(default=None, description="What is wrong, in a sentence.")
    error_at: datetime | None = None
    next_step: NextStep | None = None
    advice: str | None = None
    last_inbound_at: datetime | None = Field(
        default=None, description="When something was last written to it."
    )
    last_ack_at: datetime | None = Field(
        default=None, description="When a message from it was last confirmed."
    )
    created_at: datetime | None = None


async def every(organization_id: UUID, here: Doorway) -> list[IntegrationState]:
    """Return an organization's numbers, the primary one first, those that are still to be made at the end."""
    ids = await marks.expected(
        organization_id, here
    )  # first: one that is saved meanwhile is in the rows then
    coming = [found for each in ids if (found := await unborn(each, organization_id, here))]
    rows = await run_in_threadpool(here.database.integrations.list_for, organization_id)
    saved = {row.id for row in rows}
    return await _shown(rows, here) + [each for each in coming if each.integration_id not in saved]


async def one(integration_id: UUID, organization_id: UUID, here: Doorway) -> IntegrationState:
    """Return one number.

    Raises:
        NotFoundError: this organization has no such number.
    """
    coming = await unborn(integration_id, organization_id, here)  # first: it may be saved meanwhile
    row = await run_in_threadpool(here.database.integrations.get, integration_id)
    if row and row.organization_id == organization_id:
        return (await _shown([row], here))[0]
    if row is None and coming:
        return coming
    raise no_such(integration_id)


async def unborn(
    integration_id: UUID, organization_id: UUID, here: Doorway
) -> IntegrationState | None:
    """Return a number that is accepted and not saved yet, or could not be made; None when there is none."""
    record = await marks.record(integration_id, here)
    if record is None or record.kind != "provision" or record.tenant != str(organization_id):
        return None
    if record.state == "done" or await marks.dismissed([integration_id], here):
        return None
    known = {"integration_id": integration_id, "created_at": record.accepted}
    if record.state == "failed":
        wrong = {
            "success": False,
            "status": "error",
            "error": record.reason,
            "error_at": record.settled,
        }
        return IntegrationState.model_validate(known | wrong | told("error", record.code))
    return IntegrationState.model_validate(
        known | {"status": "starting"} | told("starting", record.reason)
    )


def _state(row: Integration, *, closing: bool, doing: Record | None) -> IntegrationState:
    known = _known(row).model_copy(update={"closing": closing})
    if doing is None or closing:
        return known
    fresh = {
        "success": True,
        "status": "starting",
        "qrcode": None,
        "qr_issued_at": None,
        "qr_expires_at": None,
    }
    return known.model_copy(
        update=fresh | {"error": None, "error_at": None} | told("starting", doing.reason)
    )


def _known(row: Integration) -> IntegrationState:
    issued = row.qr_at if row.qr else None
    return IntegrationState(
        success=row.status != "error",
        status=row.status,
        qrcode=QrCode.read(row.qr),
        qr_issued_at=issued,
        qr_expires_at=issued + timedelta(seconds=QR_LIFE_S) if issued else None,
        integration_id=row.id,
        account_number=row.account or None,
        name=row.name,
        is_primary=row.is_primary,
        is_enabled=row.is_enabled,
        status_at=row.status_at,
        error=row.last_error,
        error_at=row.last_error_at if row.last_error else None,
        last_inbound_at=row.last_inbound_at,
        last_ack_at=row.last_ack_at,
        created_at=row.created_at,
        **told(row.status, row.status_reason),
    )


def has_fresh_code(found: IntegrationState) -> bool:
    expires = found.qr_expires_at
    return found.status == "qr_issued" and expires is not None and expires > datetime.now(UTC)


def no_such(integration_id: UUID) -> NotFoundError:
    return NotFoundError(f"no integration {integration_id} in this organization")


def told(status: Status, reason: str | None = None) -> dict[str, Any]:
    """Return why a number is as it is, and what its organization can do; of an error, `reason` is its code."""
    step = STEPS.get(status, "reconnect")
    if status == "error" and reason == InvalidApiKeyError.code:
        step = "force_recreate"
    return {"reason": reason, "next_step": step, "advice": ADVICE[step] if step else None}


async def _shown(rows: list[Integration], here: Doorway) -> list[IntegrationState]:
    closing = await marks.dismissed([row.id for row in rows], here)
    doing = {
        row.id: await marks.doing(row.id, row.status_at, here)
        for row in rows
        if row.status not in SETTLED
    }
    return [_state(row, closing=row.id in closing, doing=doing.get(row.id)) for row in rows]

"""POST, GET and DELETE /v1/integrations: connecting WhatsApp numbers."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from shared import intake, ledger
from shared.database import Integration
from shared.errors import NotFoundError
from shared.events import ProvisionEvent, Strict
from shared.lanes import PREFIX
from workers.ingress.callers import Organization
from workers.ingress.messages import IdempotencyKey
from workers.ingress.state import Doorway, doorway

router = APIRouter(prefix="/v1/integrations", tags=["integrations"])

ONE_CLICK_S = 30
"""Clicks on the same number within this time are one connect: a double click, two tabs, an impatient person."""

Status = Literal["qr_issued", "connected", "starting", "disconnected", "error"]


class Connect(Strict):
    """What to connect: the organization's number, or one more (`add_new`), or a given one with a new key."""

    add_new: bool = False
    force_recreate: bool = False
    integration_id: UUID | None = Field(default=None, description="Which number, where there are several.")
    name: str | None = Field(default=None, max_length=100)


class IntegrationState(BaseModel):
    """One number, as its organization may see it: no key, no token."""

    success: bool = True
    status: Status
    qrcode: str | None = None
    qr_issued_at: datetime | None = None
    integration_id: UUID
    account_number: str | None = None
    name: str | None = None
    is_primary: bool | None = None
    is_enabled: bool | None = None
    error: str | None = None


@router.post("", status_code=202)
async def connect(
    wanted: Connect,
    organization_id: Organization,
    response: Response,
    here: Annotated[Doorway, Depends(doorway)],
    idempotency_key: IdempotencyKey = None,
) -> IntegrationState:
    """Connect a number: created where there is none, started where there is one. The QR follows at `Location`."""
    existing = await run_in_threadpool(here.database.integrations, organization_id)
    chosen = _chosen(wanted, existing)
    if chosen and chosen.status == "connected" and not wanted.force_recreate:
        response.status_code = 200
        return _state(chosen)
    integration_id = chosen.id if chosen else await _new_id(wanted, organization_id, idempotency_key, here)
    event = ProvisionEvent(
        id=await _event_id(integration_id, chosen, here),
        organization_id=organization_id,
        integration_id=integration_id,
        force_recreate=wanted.force_recreate,
        name=wanted.name,
    )
    await here.appends.append(intake.provision(event))
    response.headers["Location"] = f"/v1/integrations/{integration_id}"
    return _state(chosen) if chosen else IntegrationState(status="starting", integration_id=integration_id)


@router.get("")
async def numbers(organization_id: Organization, here: Annotated[Doorway, Depends(doorway)]) -> list[IntegrationState]:
    """List the organization's numbers, the primary one first."""
    return [_state(found) for found in await run_in_threadpool(here.database.integrations, organization_id)]


@router.get("/{integration_id}")
async def number(
    integration_id: UUID, organization_id: Organization, here: Annotated[Doorway, Depends(doorway)]
) -> IntegrationState:
    """Tell how one number is: its status, and its QR code while one is to be scanned."""
    found = await run_in_threadpool(here.database.integration, integration_id)
    if found and found.organization_id == organization_id:
        return _state(found)
    if found is None and (coming := await _on_its_way(integration_id, organization_id, here)):
        return coming
    raise _no_such(integration_id)


@router.delete("/{integration_id}", status_code=202)
async def disconnect(
    integration_id: UUID, organization_id: Organization, here: Annotated[Doorway, Depends(doorway)]
) -> IntegrationState:
    """Stop a number and forget its key; its messages stay."""
    found = await run_in_threadpool(here.database.integration, integration_id)
    if found is None or found.organization_id != organization_id:
        raise _no_such(integration_id)
    event = ProvisionEvent(
        id=uuid4(), organization_id=organization_id, integration_id=integration_id, action="disconnect"
    )
    await here.appends.append(intake.provision(event))
    return _state(found)


def _chosen(wanted: Connect, existing: list[Integration]) -> Integration | None:
    """Return the number that is meant, or None when a new one is."""
    if wanted.integration_id:
        found = next((each for each in existing if each.id == wanted.integration_id), None)
        if found is None:
            raise _no_such(wanted.integration_id)
        return found
    return None if wanted.add_new or not existing else existing[0]


async def _new_id(wanted: Connect, organization_id: UUID, idempotency_key: str | None, here: Doorway) -> UUID:
    """Return the id of the number to come: the same one for clicks that mean the same."""
    if wanted.add_new:
        return intake.event_id(organization_id, idempotency_key and f"add:{idempotency_key}")
    return await _once(f"first:{organization_id}", here)


async def _event_id(integration_id: UUID, existing: Integration | None, here: Doorway) -> UUID:
    """A number's first event has its own id, so that the number can be asked for before its row is there."""
    return await _once(f"again:{integration_id}", here) if existing else integration_id


async def _once(subject: str, here: Doorway) -> UUID:
    """Return one fresh id per subject and `ONE_CLICK_S`, whoever asks."""
    key, fresh = f"{PREFIX}click:{subject}", str(uuid4())
    pipe = here.redis.pipeline(transaction=True)
    pipe.set(key, fresh, nx=True, ex=ONE_CLICK_S)
    pipe.get(key)
    replies: list[Any] = await pipe.execute()
    return UUID(replies[1].decode())


async def _on_its_way(integration_id: UUID, organization_id: UUID, here: Doorway) -> IntegrationState | None:
    reply: Any = await here.redis.hmget(ledger.key(integration_id), list(ledger.FIELDS))
    record = ledger.record(integration_id, reply)
    if record is None or record.kind != "provision" or record.tenant != str(organization_id):
        return None
    if record.state == "failed":
        return IntegrationState(success=False, status="error", integration_id=integration_id, error=record.reason)
    return IntegrationState(status="starting", integration_id=integration_id)


def _state(found: Integration) -> IntegrationState:
    return IntegrationState(
        status=found.status,
        qrcode=found.qr,
        qr_issued_at=found.qr_at,
        integration_id=found.id,
        account_number=found.account,
        name=found.name,
        is_primary=found.is_primary,
        is_enabled=found.is_enabled,
        error=found.last_error,
    )


def _no_such(integration_id: UUID) -> NotFoundError:
    return NotFoundError(f"no integration {integration_id} in this organization")

"""POST /v1/integrations and its kin: connecting, looking again, connecting anew, disconnecting."""

import re
import time
from typing import Annotated, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Header, Response
from pydantic import Field

from shared import intake
from shared.errors import NotFoundError
from shared.events import ProvisionEvent, Strict
from workers.ingress import numbers, wishes
from workers.ingress.callers import Organization
from workers.ingress.messages import IdempotencyKey
from workers.ingress.numbers import IntegrationState
from workers.ingress.state import Doorway, Here
from workers.ingress.wishes import Wish

router = APIRouter(prefix=numbers.PATH)

LONGEST_WAIT_S = 30
RECHECK_S = 3.0
"""How often a held answer looks by itself, in case nobody tells it."""

Prefer = Annotated[
    str | None,
    Header(
        max_length=255,
        description="`wait=30` (RFC 7240): answer when there is a code or a connection, at most 30 s later.",
    ),
]


class Connect(Strict):
    """What to connect: the organization's number, or one more (`add_new`), or a given one with a new key."""

    add_new: bool = Field(default=False, description="One more number, whatever there is.")
    force_recreate: bool = Field(default=False, description="A new key for the same number, where the old is refused.")
    integration_id: UUID | None = Field(default=None, description="Which number, where there are several.")
    name: numbers.Name | None = None


@router.post("", status_code=202, responses={200: {"model": IntegrationState, "description": "There already."}})
async def connect(
    wanted: Connect,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> IntegrationState:
    """Connect a number: created where there is none, started where there is one. The QR follows at `Location`."""
    asked = wanted.model_dump(mode="json")
    wish = await wishes.remembered(organization_id, idempotency_key, asked, here)
    if wish is None:
        chosen = _chosen(wanted, await numbers.every(organization_id, here))
        if chosen and not wanted.force_recreate and (chosen.status == "connected" or numbers.has_fresh_code(chosen)):
            response.status_code = 200
            response.headers["Location"] = _place(chosen.integration_id)
            return chosen
        wish = await _wish(wanted, chosen, organization_id, here)
        wish = await wishes.remember(organization_id, idempotency_key, asked, wish, here)
    event = ProvisionEvent(
        id=wish.event_id,
        organization_id=organization_id,
        integration_id=wish.integration_id,
        add_new=wanted.add_new or wish.event_id == wanted.integration_id,
        force_recreate=wanted.force_recreate,
        name=wanted.name,
    )
    return await _accepted(event, wish, response, prefer, here)


@router.post("/{integration_id}/reconnect", status_code=202)
async def reconnect(
    integration_id: UUID,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> IntegrationState:
    """Start a number again: it comes back by itself while its phone is still linked, with a code otherwise."""
    found = await numbers.one(integration_id, organization_id, here)
    return await _again("connect", found, organization_id, response, here, key=idempotency_key, prefer=prefer)


@router.post("/{integration_id}/refresh", status_code=202)
async def refresh(
    integration_id: UUID,
    organization_id: Organization,
    response: Response,
    here: Here,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> IntegrationState:
    """Ask the platform how a number is now, and for a new code; one that does not run is started."""
    found = await numbers.one(integration_id, organization_id, here)
    action: Literal["connect", "watch"] = (
        "watch" if found.status in {"starting", "qr_issued", "connected", "degraded"} else "connect"
    )
    return await _again(action, found, organization_id, response, here, key=idempotency_key, prefer=prefer)


@router.delete("/{integration_id}", status_code=202)
async def disconnect(integration_id: UUID, organization_id: Organization, here: Here) -> IntegrationState:
    """Stop a number and forget its key; its messages stay. Also ends one that is only half made."""
    found = await numbers.one(integration_id, organization_id, here)
    event = ProvisionEvent(
        id=await wishes.once(f"gone:{integration_id}", here),
        organization_id=organization_id,
        integration_id=integration_id,
        action="disconnect",
    )
    await wishes.grant(event, here)
    await numbers.dismiss(integration_id, organization_id, here)
    await wishes.forget_click(f"first:{organization_id}", here)
    await here.changes.announce(organization_id, integration_id)
    return found.model_copy(update={"closing": True})


async def _again(  # noqa: PLR0913 - one route's arguments, and what it does
    action: Literal["connect", "watch"],
    found: IntegrationState,
    organization_id: UUID,
    response: Response,
    here: Doorway,
    *,
    key: str | None,
    prefer: str | None,
) -> IntegrationState:
    """Do something to a number that is there; one that could not be made is tried once more."""
    integration_id = found.integration_id
    asked = {"action": action, "integration_id": str(integration_id)}
    wish = await wishes.remembered(organization_id, key, asked, here)
    if wish is None:
        unborn = found.account_number is None
        subject = f"{action}:{integration_id}"
        event_id = integration_id if unborn else await wishes.once(subject, here)
        wish = Wish(integration_id, event_id, None if unborn else subject)
        wish = await wishes.remember(organization_id, key, asked, wish, here)
    event = ProvisionEvent(
        id=wish.event_id,
        organization_id=organization_id,
        integration_id=integration_id,
        action=action,
        add_new=wish.event_id == integration_id,
    )
    return await _accepted(event, wish, response, prefer, here)


async def _accepted(
    event: ProvisionEvent, wish: Wish, response: Response, prefer: str | None, here: Doorway
) -> IntegrationState:
    """Grant a wish, and answer with the state of its number: at once, or when there is something to see."""
    integration_id, organization_id = wish.integration_id, event.organization_id
    before = await _state(integration_id, organization_id, here)
    if event.id == integration_id:
        await numbers.expect(integration_id, organization_id, here)
    if not await _granted(event, here) and wish.subject and not wish.again:
        following = await wishes.after(wish.subject, event.id, here)
        await _granted(event.model_copy(update={"id": following}), here)
    response.headers["Location"] = _place(integration_id)
    if wish.again:
        response.headers["Idempotent-Replayed"] = "true"
    if wait_s := _wait_s(prefer):
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        return await _awaited(before, organization_id, wait_s, here)
    return await _state(integration_id, organization_id, here)


async def _granted(event: ProvisionEvent, here: Doorway) -> bool:
    """Put an event into its lane; False when it has been done already. A watch replaces the one before it."""
    if event.action == "watch":
        await here.redis.set(intake.latest_watch(event.integration_id), str(event.id), ex=numbers.COMING_S)
    else:
        await numbers.begun(event, here)
    return await wishes.grant(event, here)


async def _awaited(before: IntegrationState, organization_id: UUID, wait_s: int, here: Doorway) -> IntegrationState:
    """Return a number's state as soon as there is a code, a connection or an error, newer than `before`."""
    until = time.monotonic() + wait_s
    async with here.changes.of(organization_id) as changes:
        while True:
            found = await _state(before.integration_id, organization_id, here)
            news = found.status_at != before.status_at or found.error_at != before.error_at
            if found.status == "connected" or numbers.has_fresh_code(found) or (found.status == "error" and news):
                return found
            left_s = until - time.monotonic()
            if left_s <= 0 or changes.closing:
                return found
            await changes.wait(min(RECHECK_S, left_s))


async def _state(integration_id: UUID, organization_id: UUID, here: Doorway) -> IntegrationState:
    try:
        return await numbers.one(integration_id, organization_id, here)
    except NotFoundError:  # accepted a moment ago
        return IntegrationState(status="starting", integration_id=integration_id, **numbers.told("starting"))


def _chosen(wanted: Connect, existing: list[IntegrationState]) -> IntegrationState | None:
    """Return the number that is meant, or None when a new one is."""
    usable = [each for each in existing if not each.closing]
    if wanted.integration_id:
        found = next((each for each in usable if each.integration_id == wanted.integration_id), None)
        if found is None:
            raise numbers.no_such(wanted.integration_id)
        return found
    return None if wanted.add_new or not usable else usable[0]


async def _wish(wanted: Connect, chosen: IntegrationState | None, organization_id: UUID, here: Doorway) -> Wish:
    """Return which number is meant and by which event: the same ones for clicks that mean the same.

    A number's first event has the number's own id, so that it can be asked for before its row is there.
    """
    if chosen is None:
        fresh = uuid4() if wanted.add_new else await wishes.once(f"first:{organization_id}", here)
        return Wish(fresh, fresh)
    integration_id = chosen.integration_id
    if chosen.account_number is None:
        return Wish(integration_id, integration_id)
    subject = f"{'recreate' if wanted.force_recreate else 'connect'}:{integration_id}"
    return Wish(integration_id, await wishes.once(subject, here), subject)


def _wait_s(prefer: str | None) -> int:
    """Return the seconds of `wait=` among preferences, bounded; 0 without."""
    found = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})", prefer or "", re.IGNORECASE)
    return min(int(found[1]), LONGEST_WAIT_S) if found else 0


def _place(integration_id: UUID) -> str:
    return f"{numbers.PATH}/{integration_id}"

"""Who receives messages, and from which number: phones and contacts of the organization.

All messages of a request are looked up together: a single query, and no query for a
phone without a contact where the organization has a single number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database.contacts import WantedRecipient
from shared.database.models import FoundRecipient
from shared.errors import DatabaseError, NotFoundError
from shared.events import Message
from shared.phones import DEFAULT_REGION, normalize
from shared.route_cache import IntegrationRoute
from workers.ingress.deps import AppState
from workers.ingress.messages import senders
from workers.ingress.messages.senders import Numbers, invalid_field


@dataclass(frozen=True)
class Destination:
    """Where a message goes: a phone in international digits, and the number that sends it."""

    phone: str
    route: IntegrationRoute


async def find_destination(message: Message, organization_id: UUID, state: AppState) -> Destination:
    """Return where a message goes.

    Raises:
        NotFoundError: the organization has no client, teacher or integration with this id,
            or no integration at all.
        RequestValidationError: no phone of the organization's region, a contact without a phone,
            or a disabled integration.
        DatabaseError: Supabase did not answer, and Redis and the message do not suffice.
    """
    named = (message.integration_id,) if message.integration_id else ()
    numbers = await senders.read_numbers(organization_id, named, state)
    query = _build_query(message, numbers)
    if not _needs_look_up(query):
        return await _build_destination(message, query, None, numbers, state)
    (found,) = await _find_all([message], [query], numbers, state)
    if isinstance(found, Exception):
        raise found
    return found


async def find_destinations(
    messages: Sequence[Message], organization_id: UUID, state: AppState
) -> list[Destination | Exception]:
    """Return where each message goes, or the error that `find_destination` raises for it."""
    named = {each.integration_id for each in messages if each.integration_id}
    numbers = await senders.read_numbers(organization_id, named, state)
    wanted = [_build_query(message, numbers) for message in messages]
    return await _find_all(messages, wanted, numbers, state)


async def _find_all(
    messages: Sequence[Message],
    wanted: Sequence[WantedRecipient],
    numbers: Numbers,
    state: AppState,
) -> list[Destination | Exception]:
    """Return where each message goes, by a single look-up of what is `wanted`."""
    found = await _look_up(wanted, numbers.organization_id, state)
    last = {each.last_integration_id for each in found if isinstance(each, FoundRecipient)}
    known = {each for each in last if each in numbers.ids}
    await senders.add_routes(numbers, known, state)
    destinations: list[Destination | Exception] = []
    for message, query, each in zip(messages, wanted, found, strict=True):
        try:
            destinations.append(await _build_destination(message, query, each, numbers, state))
        except Exception as error:  # noqa: BLE001 - the answer to this message
            destinations.append(error)
    return destinations


def _build_query(message: Message, numbers: Numbers) -> WantedRecipient:
    """Return what has to be looked up for a message; without an id and `wants_last`, nothing."""
    wants_last = message.integration_id is None and len(numbers.ids) > 1
    phone = None
    if message.to and wants_last:
        try:
            phone = normalize(message.to, numbers.region or DEFAULT_REGION)
        except ValueError:
            wants_last = False  # it is refused below
    return WantedRecipient(message.client_id, message.teacher_id, phone, wants_last)


def _needs_look_up(query: WantedRecipient) -> bool:
    return bool(query.client_id or query.teacher_id or query.wants_last)


async def _look_up(
    wanted: Sequence[WantedRecipient], organization_id: UUID, state: AppState
) -> list[FoundRecipient | Exception | None]:
    """Return what is stored about recipients, None where nothing was asked, else the error."""
    places = [place for place, each in enumerate(wanted) if _needs_look_up(each)]
    results: list[FoundRecipient | Exception | None] = [None] * len(wanted)
    if not places:
        return results
    asked = [wanted[place] for place in places]
    try:
        rows = await run_in_threadpool(
            state.database.contacts.find_recipients, organization_id, asked
        )
    except DatabaseError as error:
        for place in places:
            results[place] = error
        return results
    for row in rows:
        results[places[row.n]] = row
    return results


async def _build_destination(
    message: Message,
    query: WantedRecipient,
    found: FoundRecipient | Exception | None,
    numbers: Numbers,
    state: AppState,
) -> Destination:
    """Combine what is known. While Supabase does not answer, a phone is enough."""
    stored = None if isinstance(found, Exception) else found
    if isinstance(found, Exception) and not message.to:
        raise found
    if stored:
        _check_contact(message, stored)
    if message.integration_id:
        route = numbers.find_named(message.integration_id)
    else:
        last = stored.last_integration_id if stored else None
        route = numbers.find_default(last) or await senders.find_any(numbers, state)
    return Destination(query.phone or _read_phone(message, stored, route.region), route)


def _check_contact(message: Message, found: FoundRecipient) -> None:
    if message.client_id and not found.has_client:
        msg = f"this organization has no client {message.client_id} (client_id)"
        raise NotFoundError(msg)
    if message.teacher_id and not found.has_teacher:
        msg = f"this organization has no teacher {message.teacher_id} (teacher_id)"
        raise NotFoundError(msg)


def _read_phone(message: Message, found: FoundRecipient | None, region: str) -> str:
    """Return the phone of a recipient in international digits.

    Raises:
        RequestValidationError: there is none, or it cannot be read.
    """
    field, phone = "to", message.to
    if not phone:
        field = "client_id" if message.client_id else "teacher_id"
        phone = found.phone if found else None
        if not phone:
            msg = "this contact has no phone number"
            raise invalid_field(msg, field=field)
    try:
        return normalize(phone, region)
    except ValueError as error:
        where = "" if field == "to" else "its stored phone is "
        msg = f"{where}{error}"
        raise invalid_field(msg, field=field) from None

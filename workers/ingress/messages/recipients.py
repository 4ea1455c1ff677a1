"""Who receives a message, and from which number: looked up in the CRM's tables."""

from dataclasses import dataclass
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database.contacts import ContactTable
from shared.errors import DatabaseError, NotFoundError
from workers.ingress.deps import AppState


@dataclass(frozen=True)
class Recipient:
    """A phone, the contact that it belongs to, and the number on which that contact wrote last."""

    phone: str | None
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    last_integration_id: UUID | None = None


async def find_recipient(
    phone: str | None,
    client_id: UUID | None,
    teacher_id: UUID | None,
    organization_id: UUID,
    state: AppState,
) -> Recipient:
    """Return the recipient that a phone, a client or a teacher means; the phone counts if given.

    While Supabase does not answer, a phone is enough.

    Raises:
        NotFoundError: the organization has no such client or teacher.
        DatabaseError: Supabase did not answer, and there is no phone.
    """
    found = Recipient(phone, client_id, teacher_id)
    try:
        return await run_in_threadpool(_complete, found, organization_id, state)
    except DatabaseError:
        if not phone:
            raise
        return found


def _complete(found: Recipient, organization_id: UUID, state: AppState) -> Recipient:
    phone = found.phone
    contacts: list[tuple[ContactTable, UUID | None]] = [
        ("clients", found.client_id),
        ("teachers", found.teacher_id),
    ]
    for table, contact_id in contacts:
        if contact_id is None:
            continue
        contact = state.database.contacts.get(table, contact_id)
        if contact is None or contact.organization_id != organization_id:
            msg = f"this organization has no {table.removesuffix('s')} {contact_id}"
            raise NotFoundError(msg)
        phone = phone or contact.phone
    last = None
    if found.client_id:
        last = state.database.contacts.find_last_integration(found.client_id, organization_id)
    return Recipient(phone, found.client_id, found.teacher_id, last)

"""For which organization the CRM's servers call: they hold no session of a user."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database.contacts import ContactTable
from workers.ingress.deps import AppState
from workers.ingress.functions.answers import not_found
from workers.ingress.functions.calls import SESSION_PREFIX, read_text, read_uuid

NUMBER_FIELDS = ("integration_id", "integrationId", "session_name", "session", "account_number")
ORGANIZATION_FIELDS = ("organizationId", "organization_id")


async def find_organization(name: str, fields: Mapping[str, Any], state: AppState) -> UUID:
    """Return the organization that the fields of a call name, by its id or by what it owns.

    Raises:
        FunctionError: they name none.
        DatabaseUnavailableError: Supabase did not answer.
    """
    if named := read_text(fields, *ORGANIZATION_FIELDS):
        if organization_id := read_uuid(named):
            return organization_id
        msg = f"{named!r} is not the id of an organization."
        raise not_found(msg[:200])
    found = await run_in_threadpool(_find_owner, fields, state)
    if found is None:
        msg = f"{name}: name the organization (organizationId)."
        raise not_found(msg)
    return found


def _find_owner(fields: Mapping[str, Any], state: AppState) -> UUID | None:
    """Return the organization of the contact, message or number that the fields name."""
    contacts: list[tuple[ContactTable, str | None]] = [
        ("clients", read_text(fields, "clientId", "client_id")),
        ("teachers", read_text(fields, "teacherId", "teacher_id")),
    ]
    for table, given in contacts:
        contact_id = read_uuid(given)
        contact = state.database.contacts.get(table, contact_id) if contact_id else None
        if contact:
            return contact.organization_id
    if message := read_text(fields, "messageId", "message_id"):
        return state.database.messages.find_organization(message)
    named = read_text(fields, *NUMBER_FIELDS)
    integration_id = read_uuid(named)
    if integration_id:
        integration = state.database.integrations.get(integration_id)
        return integration.organization_id if integration else None
    if named:
        return state.database.integrations.find_owner(named.removeprefix(SESSION_PREFIX))
    phone = read_text(fields, "phoneNumber", "phone")
    return state.database.contacts.find_organization_by_phone(phone) if phone else None

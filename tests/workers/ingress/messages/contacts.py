"""Contacts of an organization in the CRM's tables, and messages that they wrote."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import psycopg

Table = Literal["clients", "teachers"]
NAMES: dict[Table, str] = {"clients": "name", "teachers": "first_name"}


def add_contact(
    database_url: str, organization_id: UUID, phone: str | None, table: Table = "clients"
) -> UUID:
    """Add a client or a teacher; return the id."""
    contact_id = uuid4()
    query = (
        f"insert into public.{table} (id, organization_id, {NAMES[table]}, phone) "  # noqa: S608
        "values (%s, %s, 'Anna', %s)"
    )
    with psycopg.connect(database_url) as db:
        db.execute(query.encode(), (contact_id, organization_id, phone))
    return contact_id


def add_further_phone(
    database_url: str, client_id: UUID, phone: str, *, on_whatsapp: bool = False
) -> None:
    with psycopg.connect(database_url) as db:
        db.execute(
            "insert into public.client_phone_numbers (client_id, phone, is_whatsapp_enabled) "
            "values (%s, %s, %s)",
            (client_id, phone, on_whatsapp),
        )


def add_arrived(
    database_url: str,
    organization_id: UUID,
    integration_id: str,
    *,
    client_id: UUID | None = None,
    teacher_id: UUID | None = None,
    ago_s: float = 0,
) -> None:
    """Add a message that a contact wrote to an integration some time ago."""
    with psycopg.connect(database_url) as db:
        db.execute(
            "insert into public.chat_messages (id, organization_id, client_id, teacher_id, "
            "integration_id, message_text, message_type, is_outgoing, created_at) "
            "values (%s, %s, %s, %s, %s, 'Hi', 'client', false, %s)",
            (
                uuid4(),
                organization_id,
                client_id,
                teacher_id,
                integration_id,
                datetime.now(UTC) - timedelta(seconds=ago_s),
            ),
        )

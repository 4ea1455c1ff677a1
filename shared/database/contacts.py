"""Clients and teachers of the CRM: whose phone a message is for."""

from typing import Any, Literal
from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import Contact

ContactTable = Literal["clients", "teachers"]


class Contacts:
    """The clients and teachers of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, table: ContactTable, contact_id: UUID) -> Contact | None:
        """Return a client or a teacher, or None. A client may have a further number only."""
        query = self._connection.table(table).select("id, organization_id, phone")
        rows = self._connection.rows(query.eq("id", str(contact_id)).limit(1))
        if not rows:
            return None
        found = Contact.model_validate(rows[0])
        if table == "teachers" or (found.phone or "").strip("- "):
            return found
        return found.model_copy(update={"phone": self._find_further_phone(contact_id)})

    def find_last_integration(self, client_id: UUID, organization_id: UUID) -> UUID | None:
        """Return the integration on which a client wrote last, or None."""
        query = self._connection.table("chat_messages").select("integration_id")
        query = query.eq("client_id", str(client_id)).eq("organization_id", str(organization_id))
        query = query.eq("is_outgoing", "false").not_.is_("integration_id", "null")
        rows = self._connection.rows(query.order("created_at", desc=True).limit(1))
        return UUID(rows[0]["integration_id"]) if rows else None

    def find_organization_by_phone(self, phone: str) -> UUID | None:
        """Return the organization of a phone's contacts; None if there are none, or several."""
        digits = "".join(char for char in phone if char.isdecimal() and char.isascii())
        found = self._connection.call("wpp_find_organization_by_phone", object, digits=digits)
        return UUID(str(found)) if found else None

    def _find_further_phone(self, client_id: UUID) -> str | None:
        query = self._connection.table("client_phone_numbers").select("phone")
        query = query.eq("client_id", str(client_id))
        query = query.order("is_whatsapp_enabled", desc=True).order("is_primary", desc=True)
        rows: list[dict[str, Any]] = self._connection.rows(query.limit(1))
        return rows[0]["phone"] if rows else None

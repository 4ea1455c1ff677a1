"""Clients and teachers of the CRM: whose phone a message is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import Contact, FoundRecipient

ContactTable = Literal["clients", "teachers"]


@dataclass(frozen=True)
class WantedRecipient:
    """A recipient to look up, by a client, a teacher, or a phone in international digits.

    `wants_last`: the integration on which this contact wrote last is needed, too.
    """

    client_id: UUID | None = None
    teacher_id: UUID | None = None
    phone: str | None = None
    wants_last: bool = False


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

    def find_recipients(
        self, organization_id: UUID, wanted: Sequence[WantedRecipient]
    ) -> list[FoundRecipient]:
        """Look up recipients of an organization in one query; the answers have the same order."""
        listed = [
            {
                "n": n,
                "client_id": str(each.client_id) if each.client_id else None,
                "teacher_id": str(each.teacher_id) if each.teacher_id else None,
                "phone": each.phone,
                "wants_last": each.wants_last,
            }
            for n, each in enumerate(wanted)
        ]
        return self._connection.call(
            "wpp_find_recipients",
            list[FoundRecipient],
            organization=str(organization_id),
            wanted=listed,
        )

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

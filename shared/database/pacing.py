"""Pacing: the settings of organizations and numbers, and what a number knows of a person."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import StringConstraints

from shared.database.connection import Connection
from shared.database.models import NumberPacing

Acquaintance = Annotated[str, StringConstraints(pattern=r"^(\d{1,16}|known|stranger)$")]


class PacingTable:
    """The settings of all organizations. Without a row, an organization has the defaults."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_numbers(self, organization_id: UUID | None = None) -> dict[UUID, NumberPacing]:
        """Return the settings of an organization's numbers, or of all, by integration."""
        of = {"organization_id": str(organization_id)} if organization_id else {}
        rows = self._connection.call("wpp_pacing_of", list[NumberPacing], **of)
        return {row.integration_id: row for row in rows}

    def of_organization(self, organization_id: UUID) -> dict[str, Any]:
        """Return the settings of an organization for all of its numbers."""
        query = self._connection.table("wpp_pacing").select("settings")
        query = query.eq("organization_id", str(organization_id)).is_("integration_id", "null")
        rows = self._connection.rows(query.limit(1))
        return dict(rows[0]["settings"]) if rows else {}

    def change(
        self, organization_id: UUID, integration_id: UUID | None, changes: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Change settings of an organization, or of one of its numbers; None takes one back.

        Returns all of these settings, or None if the organization, or its number, does not exist.
        """
        returns: Any = dict[str, Any] | None
        changed: dict[str, Any] | None = self._connection.call(
            "wpp_set_pacing",
            returns,
            organization_id=str(organization_id),
            integration_id=str(integration_id) if integration_id else None,
            changes=changes,
        )
        return changed

    def find_acquaintance(self, integration_id: UUID, phone: str) -> str:
        """Return when a person last wrote to a number, in ms since 1970, as text.

        Or `known` if the number alone has written, or `stranger`.
        """
        returns: Any = Acquaintance
        known: str = self._connection.call(
            "wpp_acquaintance", returns, integration_id=str(integration_id), phone=phone
        )
        return known

"""Policies of organizations (`wpp_policies`) for cases that the pipeline cannot decide."""

from typing import Literal
from uuid import UUID

from shared.database.connection import Connection

Unknown = Literal["hold", "resend"]


class Policies:
    """The policies of all organizations. An organization without a row has the defaults."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def resends_unknown(self, organization_id: UUID) -> bool:
        """Return whether messages of unknown effect are sent again."""
        query = self._connection.table("wpp_policies").select("unknown")
        rows = self._connection.rows(query.eq("organization_id", str(organization_id)).limit(1))
        return bool(rows) and rows[0]["unknown"] == "resend"

    def set_unknown(self, organization_id: UUID, choice: Unknown) -> None:
        """Choose what happens from now on to messages of unknown effect.

        Raises:
            DatabaseError: the organization does not exist (23503).
        """
        row = {"organization_id": str(organization_id), "unknown": choice}
        self._connection.rows(self._connection.table("wpp_policies").upsert(row))

    def resending_organizations(self) -> set[UUID]:
        """Return the organizations whose policy for messages of unknown effect is `resend`."""

        def query() -> object:
            table = self._connection.table("wpp_policies")
            return table.select("organization_id").eq("unknown", "resend")

        rows = self._connection.iterate(query, key="organization_id")
        return {UUID(row["organization_id"]) for row in rows}

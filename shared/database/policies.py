"""What an organization wants done where the pipeline cannot know (`wpp_policies`)."""

from collections.abc import Iterator
from typing import Any, Literal, cast
from uuid import UUID

from shared.database.calls import Calls
from shared.database.connection import map_errors

Unknown = Literal["hold", "resend"]
PAGE = 500


class Policies(Calls):
    def resends_unknown(self, organization_id: UUID) -> bool:
        """Return whether an organization wants messages sent again of which nobody knows whether they went out."""
        rows = self._rows("wpp_policies", "unknown", organization_id=str(organization_id), limit=1)
        return bool(rows) and rows[0]["unknown"] == "resend"

    def choose_for_unknown(self, organization_id: UUID, choice: Unknown) -> None:
        """Set what becomes of such messages from now on.

        Raises:
            DatabaseError: there is no such organization (23503).
        """
        row = {"organization_id": str(organization_id), "unknown": choice}
        with map_errors():
            self._connection.client.table("wpp_policies").upsert(row).execute()

    def organizations_that_resend(self) -> set[UUID]:
        """Return the organizations whose policy for unknown messages is `resend`."""
        return set(self._that_resend())

    def _that_resend(self) -> Iterator[UUID]:
        last = str(UUID(int=0))
        while True:
            with map_errors():
                found: Any = self._connection.client.table("wpp_policies").select("organization_id")
                found = (
                    found.eq("unknown", "resend")
                    .gt("organization_id", last)
                    .order("organization_id")
                )
                rows = cast("list[dict[str, str]]", found.limit(PAGE).execute().data)
            yield from (UUID(row["organization_id"]) for row in rows)
            if len(rows) < PAGE:
                return
            last = rows[-1]["organization_id"]

"""The events of an organization (`wpp.events`), by the function `wpp_read_events`."""

from uuid import UUID

from shared.database.connection import Connection
from shared.feed import FeedPage


class Feed:
    """The events of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, organization_id: UUID, after: int, max_rows: int) -> FeedPage:
        """Return the events of an organization after a position, at most `max_rows`."""
        return self._call(organization_id, after, max_rows)

    def find_end(self, organization_id: UUID) -> FeedPage:
        """Return a page without events, whose `last` is the newest event of an organization."""
        return self._call(organization_id, None, 0)

    def _call(self, organization_id: UUID, after: int | None, max_rows: int) -> FeedPage:
        values = {"organization_id": str(organization_id), "after": after, "max_rows": max_rows}
        return self._connection.call("wpp_read_events", FeedPage, **values)

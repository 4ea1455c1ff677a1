"""The raw log: each webhook as it arrived, without files and secrets, and what became of it (`wpp_webhook_log`)."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from pydantic import Field

from shared.database.calls import Calls
from shared.database.connection import map_errors
from shared.database.models import Row

PAGE = 500
COLUMNS = "id, account, event_type, payload, became, error, at"


class LoggedEvent(Row):
    """One webhook. `at` is when it was accepted, `became` a word for what came of it."""

    id: UUID
    account: str
    event_type: str
    payload: dict[str, Any]
    became: str
    error: str | None
    at: datetime


class LogQuery(Row):
    """Which webhooks: all given conditions together, `since` <= at < `until`."""

    ids: Sequence[UUID] | None = Field(default=None, max_length=200)
    account: str | None = None
    event_type: str | None = None
    became: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class RawLog(Calls):
    """Raises DatabaseUnavailableError (it may work later) or DatabaseError."""

    def latest(self, query: LogQuery, limit: int) -> list[LoggedEvent]:
        """Return matching webhooks, the newest first: to be looked at."""
        with map_errors():
            rows = (
                self._matching(query).order("at", desc=True).order("id").limit(limit).execute().data
            )
        return [LoggedEvent.model_validate(row) for row in rows]

    def find(self, query: LogQuery) -> Iterator[LoggedEvent]:
        """Go through the matching webhooks, a page at a time, in no order that means anything."""
        last = str(UUID(int=0))
        while True:
            with map_errors():
                rows = self._matching(query).gt("id", last).order("id").limit(PAGE).execute().data
            yield from (LoggedEvent.model_validate(row) for row in rows)
            if len(rows) < PAGE:
                return
            last = cast("dict[str, Any]", rows[-1])["id"]

    def _matching(self, query: LogQuery) -> Any:
        found: Any = self._connection.client.table("wpp_webhook_log").select(COLUMNS)
        for column in ("account", "event_type", "became"):
            if (value := getattr(query, column)) is not None:
                found = found.eq(column, value)
        if query.ids is not None:
            found = found.in_("id", [str(each) for each in query.ids])
        if query.since is not None:
            found = found.gte("at", query.since.isoformat())
        if query.until is not None:
            found = found.lt("at", query.until.isoformat())
        return found

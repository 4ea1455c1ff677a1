"""The webhook log (`wpp_webhook_log`): each webhook without files and secrets, and its result."""

from collections.abc import Iterator
from typing import Any

from shared.database.connection import Connection
from shared.database.dead_letters import follow_newest
from shared.database.models import LoggedEvent, LogQuery, UnrecognizedType
from shared.outcomes import UNRECOGNIZED_RESULTS

COLUMNS = "id, organization_id, account, event_type, payload, became, error, at"


class WebhookLog:
    """The logged webhooks of all accounts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(
        self, query: LogQuery, limit: int, after: tuple[str, str] | None = None
    ) -> list[LoggedEvent]:
        """Return matching webhooks, the newest first.

        `after`: time and id of the last letter of the page before.
        """
        matching = self._matching(query)
        if after:
            matching = follow_newest(matching, *after)
        matching = matching.order("at", desc=True).order("id").limit(limit)
        return [LoggedEvent.model_validate(row) for row in self._connection.rows(matching)]

    def iterate(self, query: LogQuery) -> Iterator[LoggedEvent]:
        """Return all matching webhooks, page by page, in the order of their ids."""
        for row in self._connection.iterate(lambda: self._matching(query)):
            yield LoggedEvent.model_validate(row)

    def count(self, query: LogQuery) -> int:
        """Return the number of matching webhooks."""
        matching = self._matching(query, "id", count="exact").limit(1)
        return self._connection.counted(matching)[1]

    def list_unrecognized(self, query: LogQuery, limit: int) -> list[UnrecognizedType]:
        """Return what the pipeline did not understand by type, the most frequent first.

        Of `query`, the account and the times count.
        """
        given = query.model_dump(mode="json", include={"account", "since", "until"})
        return self._connection.call(
            "wpp_unrecognized_webhooks", list[UnrecognizedType], max_rows=limit, **given
        )

    def _matching(self, query: LogQuery, columns: str = COLUMNS, **options: Any) -> Any:
        matching = self._connection.table("wpp_webhook_log").select(columns, **options)
        for column in ("account", "event_type", "became"):
            if (value := getattr(query, column)) is not None:
                matching = matching.eq(column, value)
        if query.organization_id is not None:
            matching = matching.eq("organization_id", str(query.organization_id))
        if query.unrecognized:
            matching = matching.in_("became", UNRECOGNIZED_RESULTS)
        if query.ids is not None:
            matching = matching.in_("id", [str(event_id) for event_id in query.ids])
        if query.since is not None:
            matching = matching.gte("at", query.since.isoformat())
        if query.until is not None:
            matching = matching.lt("at", query.until.isoformat())
        return matching

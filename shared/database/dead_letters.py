"""Dead letters: events that ended without success, complete, so that they can be replayed."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.database.connection import Connection, map_errors
from shared.database.models import DeadLetter, DeadLetterQuery
from shared.errors import DatabaseUnavailableError

COLUMNS = (
    "id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event, "
    "replayed_at"
)
MAX_PAGE = 200
"""Dead letters read at a time: each holds a whole event."""
MAX_IDS = 200
"""Ids in a filter: they are part of the URL."""


class DeadLetters:
    """The dead letters of all organizations (`wpp_dead_letters`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Return matching dead letters, the newest first, at most `query.limit`."""
        matching = self._matching(query).order("at", desc=True).order("id").limit(query.limit)
        return [DeadLetter.model_validate(row) for row in self._connection.rows(matching)]

    def iterate(self, query: DeadLetterQuery) -> Iterator[DeadLetter]:
        """Return all matching dead letters in the order in which their events were accepted.

        They are read page by page; `query.limit` does not count.
        """
        page_size = min(self._connection.page_size, MAX_PAGE)
        matching = self._matching(query)
        while True:
            rows = self._connection.rows(matching.order("accepted_at").order("id").limit(page_size))
            letters = [DeadLetter.model_validate(row) for row in rows]
            yield from letters
            if len(letters) < page_size:
                return
            matching = self._matching(query).or_(_after(letters[-1]))

    def count(self, query: DeadLetterQuery) -> int:
        """Return the number of matching dead letters."""
        matching = self._matching(query, "id", count="exact").limit(1)
        with map_errors():
            count = matching.execute().count
        if count is None:
            msg = "Supabase: answers, but not as Supabase does: no count"
            raise DatabaseUnavailableError(msg)
        return int(count)

    def mark_replayed(self, ids: Sequence[UUID], at: datetime) -> None:
        """Mark dead letters as replayed, so that `find` leaves them out until they die again.

        `at` is a time before the replay. An event that died again since then keeps its newer death.
        """
        for start in range(0, len(ids), MAX_IDS):
            chunk = [str(letter_id) for letter_id in ids[start : start + MAX_IDS]]
            query = self._connection.table("wpp_dead_letters")
            query = query.update({"replayed_at": at.isoformat()}).in_("id", chunk)
            self._connection.rows(query.lte("at", at.isoformat()))

    def _matching(self, query: DeadLetterQuery, columns: str = COLUMNS, **options: Any) -> Any:
        matching = self._connection.table("wpp_dead_letters").select(columns, **options)
        for column, value in query.equal().items():
            matching = matching.eq(column, value)
        if query.ids is not None:
            matching = matching.in_("id", [str(letter_id) for letter_id in query.ids])
        if query.since is not None:
            matching = matching.gte("at", query.since.isoformat())
        if query.until is not None:
            matching = matching.lt("at", query.until.isoformat())
        return matching if query.replayed else matching.is_("replayed_at", None)


def _after(letter: DeadLetter) -> str:
    """Return the filter for dead letters that follow this letter."""
    accepted_at = letter.accepted_at.isoformat()
    return f'accepted_at.gt."{accepted_at}",and(accepted_at.eq."{accepted_at}",id.gt.{letter.id})'

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
    "replayed_at, closed_by, dropped_why"
)
MAX_PAGE = 200
"""Dead letters read at a time: each holds a whole event."""
MAX_IDS = 200
"""Ids in a filter: they are part of the URL."""


class DeadLetters:
    """The dead letters of all organizations (`wpp_dead_letters`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(
        self, query: DeadLetterQuery, after: tuple[str, str] | None = None
    ) -> list[DeadLetter]:
        """Return matching dead letters, the newest first, at most `query.limit`.

        `after`: time and id of the last letter of the page before.
        """
        matching = self._matching(query)
        if after:
            matching = follow_newest(matching, *after)
        matching = matching.order("at", desc=True).order("id").limit(query.limit)
        return [DeadLetter.model_validate(row) for row in self._connection.rows(matching)]

    def list_oldest(
        self, query: DeadLetterQuery, after: tuple[str, str] | None, limit: int
    ) -> list[DeadLetter]:
        """Return matching dead letters in the order in which their events were accepted.

        `after`: acceptance and id of the last letter of the page before.
        """
        matching = self._matching(query)
        if after:
            accepted_at, name = after
            later = f'accepted_at.gt."{accepted_at}"'
            same = f'accepted_at.eq."{accepted_at}",id.gt.{name}'
            matching = matching.gte("accepted_at", accepted_at).or_(f"{later},and({same})")
        rows = self._connection.rows(matching.order("accepted_at").order("id").limit(limit))
        return [DeadLetter.model_validate(row) for row in rows]

    def iterate(self, query: DeadLetterQuery) -> Iterator[DeadLetter]:
        """Return all matching dead letters in the order in which their events were accepted.

        They are read page by page; `query.limit` does not count.
        """
        page_size = min(self._connection.page_size, MAX_PAGE)
        after: tuple[str, str] | None = None
        while True:
            letters = self.list_oldest(query, after, page_size)
            yield from letters
            if len(letters) < page_size:
                return
            after = (letters[-1].accepted_at.isoformat(), str(letters[-1].id))

    def count(self, query: DeadLetterQuery) -> int:
        """Return the number of matching dead letters."""
        matching = self._matching(query, "id", count="exact").limit(1)
        with map_errors():
            count = matching.execute().count
        if count is None:
            msg = "Supabase: answers, but not as Supabase does: no count"
            raise DatabaseUnavailableError(msg)
        return int(count)

    def drop(self, ids: Sequence[UUID], who: str, why: str) -> list[UUID]:
        """Close open letters without a replay; return the ids of those that this call closed."""
        given = {"ids": [str(each) for each in ids], "who": who, "why": why}
        return self._connection.call("wpp_drop_dead_letters", list[UUID], **given)

    def mark_replayed(
        self,
        ids: Sequence[UUID],
        at: datetime,
        by: str | None = None,
        *,
        if_open: bool = False,
    ) -> None:
        """Mark dead letters as replayed, so that `find` leaves them out until they die again.

        `at` is a time before the replay. An event that died again since then keeps its newer death.
        `by`: who replayed them. `if_open`: those that are closed keep who closed them.
        """
        changes = {"replayed_at": at.isoformat(), "closed_by": by, "dropped_why": None}
        for start in range(0, len(ids), MAX_IDS):
            chunk = [str(letter_id) for letter_id in ids[start : start + MAX_IDS]]
            query = self._connection.table("wpp_dead_letters")
            query = query.update(changes).in_("id", chunk)
            query = query.lte("at", at.isoformat())
            self._connection.rows(query.is_("replayed_at", None) if if_open else query)

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


def follow_newest(query: Any, at: str, name: str) -> Any:
    """Return a query of the rows after a time and an id, the newest first.

    The first condition says no more than the second; Postgres finds it in an index.
    """
    return query.lte("at", at).or_(f'at.lt."{at}",and(at.eq."{at}",id.gt.{name})')

"""Dead letters: what ended without success, whole, until somebody puts it back."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.database.calls import Calls
from shared.database.connection import map_errors
from shared.database.models import DeadLetter, DeadLetterQuery

COLUMNS = "id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event, replayed_at"
PAGE = 200
IDS_AT_ONCE = 200
"""Ids in one filter: they travel in the URL."""


class Letters(Calls):
    def dead_letters(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Return matching dead letters, the newest first, at most `limit`: to be looked at."""
        with map_errors():
            rows = (
                self._letters(query)
                .order("at", desc=True)
                .order("id")
                .limit(query.limit)
                .execute()
                .data
            )
        return [DeadLetter.model_validate(row) for row in rows]

    def every_dead_letter(self, query: DeadLetterQuery) -> Iterator[DeadLetter]:
        """Go through all matching dead letters in the order in which their events were accepted: to be replayed.

        A page at a time; `limit` does not count.
        """
        found: Any = self._letters(query)
        while True:
            with map_errors():
                rows = found.order("accepted_at").order("id").limit(PAGE).execute().data
            letters = [DeadLetter.model_validate(row) for row in rows]
            yield from letters
            if len(letters) < PAGE:
                return
            after = letters[-1].accepted_at.isoformat()
            beyond = (
                f'accepted_at.gt."{after}",and(accepted_at.eq."{after}",id.gt.{letters[-1].id})'
            )
            found = self._letters(query).or_(beyond)

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        with map_errors():
            return self._letters(query, "id", count="exact").limit(1).execute().count or 0

    def mark_replayed(self, ids: Sequence[UUID], at: datetime) -> None:
        """Note that these dead letters were put back into their lanes; those that die again are shown again.

        `at` is a time before that: an event may have died again by now, and that death is not the one replayed.
        """
        replayed = {"replayed_at": at.isoformat()}
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = [str(each) for each in ids[start : start + IDS_AT_ONCE]]
            with map_errors():
                letters = (
                    self._connection.client.table("wpp_dead_letters")
                    .update(replayed)
                    .in_("id", some)
                )
                letters.lte("at", at.isoformat()).execute()

    def _letters(self, query: DeadLetterQuery, columns: str = COLUMNS, **how: Any) -> Any:
        found: Any = self._connection.client.table("wpp_dead_letters").select(columns, **how)
        for column, value in query.equal().items():
            found = found.eq(column, value)
        if query.ids is not None:
            found = found.in_("id", [str(each) for each in query.ids])
        if query.since is not None:
            found = found.gte("at", query.since.isoformat())
        if query.until is not None:
            found = found.lt("at", query.until.isoformat())
        return found if query.replayed else found.is_("replayed_at", None)

"""What operators look for, of all organizations."""

from collections.abc import Iterable
from threading import Lock
from uuid import UUID

from cachetools import TTLCache

from shared.database.connection import Connection
from shared.database.dead_letters import MAX_IDS
from shared.database.models import SearchHit
from shared.errors import DatabaseError

NAMES_TTL_S = 60.0
MAX_NAMES = 10_000
NAMELESS = frozenset({"42P01", "42703", "42501", "PGRST204", "PGRST205"})
"""Errors of a CRM whose table of organizations is missing, has no names, or is not readable."""


class Repair:
    """Reads for operators. No caller of the API reaches them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names: TTLCache[UUID, str] = TTLCache(MAX_NAMES, NAMES_TTL_S)
        self._lock = Lock()

    def name_organizations(self, ids: Iterable[UUID]) -> dict[UUID, str]:
        """Return the names of organizations, without those that have none.

        A new name shows within a minute. Without a table of organizations, none has a name.
        """
        wanted = set(ids)
        with self._lock:
            known = {each: self._names[each] for each in wanted if each in self._names}
        try:
            rows = self._select(wanted - known.keys(), "id, name")
        except DatabaseError as error:
            if error.sqlstate not in NAMELESS:
                raise
            rows = []
        found = {UUID(row["id"]): str(row["name"]) for row in rows if row["name"]}
        with self._lock:
            self._names.update(found)
        return known | found

    def find_organizations(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the organizations that exist."""
        return {UUID(row["id"]) for row in self._select(set(ids), "id")}

    def _select(self, ids: set[UUID], columns: str) -> list[dict[str, str]]:
        wanted = sorted(map(str, ids))
        rows: list[dict[str, str]] = []
        for start in range(0, len(wanted), MAX_IDS):
            query = self._connection.table("organizations").select(columns)
            rows += self._connection.rows(query.in_("id", wanted[start : start + MAX_IDS]))
        return rows

    def search(
        self, words: str, named: UUID | None, phone: str | None, max_rows: int
    ) -> list[SearchHit]:
        """Return what a text names; `named` and `phone`: the id and the phone that the text is."""
        return self._connection.call(
            "wpp_search",
            list[SearchHit],
            words=words,
            named=str(named) if named else None,
            phone=phone,
            max_rows=max_rows,
        )

"""How every part of the database asks: one connection a process, rows by equality, functions by name."""

from typing import Any, Self, cast

import httpx

from shared.database.connection import Connection, map_errors
from shared.database.jsonb import storable
from shared.settings import SupabaseSettings


class Calls:
    def __init__(self, settings: SupabaseSettings, http: httpx.Client | None = None) -> None:
        """Connect at first use, once per process."""
        self._connection = Connection(settings, http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _rows(self, table: str, columns: str, *, limit: int, **equal: str) -> list[dict[str, Any]]:
        with map_errors():
            found = self._connection.client.table(table).select(columns)
            for column, value in equal.items():
                found = found.eq(column, value)
            return cast("list[dict[str, Any]]", found.limit(limit).execute().data)

    def _call(self, function: str, **arguments: Any) -> Any:
        with map_errors():
            return self._connection.client.rpc(function, storable(arguments)).execute().data

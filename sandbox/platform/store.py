"""What outlives the process: one SQLite table of JSON bodies, written as things happen."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Store:
    """Bodies by kind and id, in the order of their first writing. Without a folder it keeps nothing.

    A write is with the operating system when it returns: a killed process loses none, a power cut may.
    """

    def __init__(self, folder: Path | None) -> None:
        self._database = _open(folder / "platform.sqlite") if folder else None

    def put(self, kind: str, key: str, body: Any) -> None:
        if self._database:
            self._database.execute(
                "insert into entry (kind, key, body) values (?, ?, ?)"
                " on conflict (kind, key) do update set body = excluded.body",
                (kind, key, json.dumps(body)),
            )

    def drop(self, kind: str, key: str | None = None) -> None:
        """Forget one entry, or all of a kind."""
        if self._database:
            self._database.execute("delete from entry where kind = ? and key = coalesce(?, key)", (kind, key))

    def all(self, kind: str) -> Iterator[tuple[str, Any]]:
        if self._database:
            rows = self._database.execute("select key, body from entry where kind = ? order by seq", (kind,))
            yield from ((key, json.loads(body)) for key, body in rows)

    def close(self) -> None:
        if self._database:
            self._database.close()
            self._database = None


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made by the thread that builds the app, used by the one that runs it.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript(
        "pragma journal_mode = wal; pragma synchronous = off;"
        "create table if not exists entry"
        " (seq integer primary key, kind text not null, key text not null, body text not null, unique (kind, key))"
    )
    return database

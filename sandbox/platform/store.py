"""The state that survives the process: a SQLite table of JSON bodies."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any


class Store:
    """Bodies by kind and id, in the order of their first write; a store without a folder is empty.

    The writes of one turn of the event loop are a transaction, ended by `commit` or in the next
    turn. Committed data survives a killed process, not always a power cut.
    """

    def __init__(self, folder: Path | None) -> None:
        self._database = _open_database(folder / "platform.sqlite") if folder else None

    def put(self, kind: str, key: str, body: Any) -> None:
        if self._database:
            self._write(
                "insert into entry (kind, key, body) values (?, ?, ?)"
                " on conflict (kind, key) do update set body = excluded.body",
                (kind, key, json.dumps(body)),
            )

    def drop(self, kind: str, key: str | None = None) -> None:
        """Delete an entry, or all entries of a kind."""
        if key is None:
            self._write("delete from entry where kind = ?", (kind,))
        else:
            self._write("delete from entry where kind = ? and key = ?", (kind, key))

    def all(self, kind: str) -> list[tuple[str, Any]]:
        if self._database is None:
            return []
        rows = self._database.execute(
            "select key, body from entry where kind = ? order by seq", (kind,)
        )
        return [(key, json.loads(body)) for key, body in rows]

    def commit(self) -> None:
        if self._database and self._database.in_transaction:
            self._database.execute("commit")

    def close(self) -> None:
        if self._database:
            self.commit()
            self._database.close()
            self._database = None

    def _write(self, statement: str, values: tuple[str, ...]) -> None:
        if self._database is None:
            return
        if not self._database.in_transaction and (loop := _get_running_loop()):
            self._database.execute("begin")
            loop.call_soon(self.commit)
        self._database.execute(statement, values)


def _get_running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _open_database(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # opened by the thread that creates the app, used by the thread that runs it
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript(
        "pragma journal_mode = wal; pragma synchronous = off;"
        "create table if not exists entry"
        " (seq integer primary key, kind text not null, key text not null, body text not null,"
        " unique (kind, key))"
    )
    return database

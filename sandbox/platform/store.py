"""What outlives the process: one SQLite table of JSON bodies, written as things happen."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any


class Store:
    """Bodies by kind and id, in the order of their first writing. Without a folder it keeps nothing.

    What one turn of the event loop writes is one transaction, ended by `commit`, or in the next turn. From then on the
    operating system has it: a killed process loses nothing of it, a power cut may.
    """

    def __init__(self, folder: Path | None) -> None:
        self._database = _open(folder / "platform.sqlite") if folder else None

    def put(self, kind: str, key: str, body: Any) -> None:
        if self._database:
            self._write(
                "insert into entry (kind, key, body) values (?, ?, ?)"
                " on conflict (kind, key) do update set body = excluded.body",
                (kind, key, json.dumps(body)),
            )

    def drop(self, kind: str, key: str | None = None) -> None:
        """Forget one entry, or all of a kind."""
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
        if not self._database.in_transaction and (loop := _running_loop()):
            self._database.execute("begin")
            loop.call_soon(self.commit)
        self._database.execute(statement, values)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


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

"""The recorder: carries the outbox to Supabase, in batches, until every outcome is there or set aside with a reason.

Run any number of them: `python -m workers.record`.
"""

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any

import redis
import structlog

from shared import durable, logs
from shared.database import Database
from shared.database.rows import Applied
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.outbox import Entry, Outbox
from shared.settings import RedisSettings, SupabaseSettings, load
from workers.starting import or_say_why

CAP_S = 10.0
"""The longest pause between two tries while Supabase is away."""

TOO_SLOW = "57014"
"""Postgres' query_canceled: the statement took longer than it may."""

log = structlog.get_logger()


Apply = Callable[[Sequence[dict[str, Any]]], Applied]


class Recorder:
    def __init__(self, outbox: Outbox, apply: Apply, stopping: Flag) -> None:
        self._outbox = outbox
        self._apply = apply
        self._stopping = stopping

    def run(self) -> None:
        """Record until told to stop."""
        while not self._stopping.is_set():
            try:
                self.step()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                log.warning("redis.away", error=str(error))
                self._stopping.wait(random.uniform(0.5, 2))  # noqa: S311

    def step(self, idle_s: float = 5) -> int:
        """Record one batch; return how many outcomes it had."""
        entries = self._outbox.read(idle_s=idle_s)
        if entries:
            self._record(entries)
        return len(entries)

    def _record(self, entries: Sequence[Entry]) -> None:
        """Apply a batch in one call; where Supabase refuses it, find the rows that it refuses by halving."""
        try:
            applied = self._patiently([entry.row for entry in entries])
        except DatabaseError as error:
            if len(entries) == 1:
                log.warning(
                    "outcome.refused", row=entries[0].row.get("type"), id=entries[0].row.get("id"), error=str(error)
                )
                self._outbox.bury(entries[0], f"{error.sqlstate or error.code}: {error}")
                return
            middle = len(entries) // 2
            self._record(entries[:middle])
            self._record(entries[middle:])
            return
        if applied is None:
            return  # shutting down: the entries stay pending, another recorder takes them
        self._outbox.done(entries)
        self._outbox.announce(applied.changed)
        log.info("outcomes.recorded", count=len(entries))

    def _patiently(self, rows: list[dict[str, Any]]) -> Applied | None:
        """Apply rows, however long Supabase is away; None when told to stop meanwhile.

        Raises:
            DatabaseError: Supabase refuses these rows, or so many of them.
        """
        attempts = 0
        while True:
            try:
                return self._apply(rows)
            except DatabaseUnavailableError as error:
                if error.sqlstate == TOO_SLOW and len(rows) > 1:
                    raise  # smaller batches may be quick enough
                attempts += 1
                pause = random.uniform(0, min(CAP_S, 0.2 * 2 ** min(attempts, 10)))  # noqa: S311
                log.warning("supabase.away", attempts=attempts, pause_s=round(pause, 2), error=str(error))
                if self._stopping.wait(pause):
                    return None


def main() -> None:
    logs.configure("record")
    stopping = Flag()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    with or_say_why():
        client = durable.connect_durable(load(RedisSettings))
        database = Database(load(SupabaseSettings))
    consumer = f"{socket.gethostname()}:{os.getpid()}:{int(time.time())}"
    Recorder(Outbox(client, consumer), database.apply, stopping).run()


if __name__ == "__main__":
    main()

"""The recorder: carries the outbox to Supabase, in batches, until every outcome is there or a dead letter there.

An outcome that is refused costs only itself. A database that is not as it should be (a migration is missing, a column
was renamed) costs time: everything is kept, and whoever looks is told what to do.

Run any number of them: `python -m workers.recorder`.
"""

import os
import random
import socket
import time
from collections.abc import Sequence
from threading import Event as Flag
from typing import Any, Protocol

import redis
import structlog

from shared import logs
from shared.database import Database
from shared.database.diagnosis import NO_ROW_S_FAULT, diagnose
from shared.database.models import Applied
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.outbox import Entry, Outbox
from shared.redis import connect_durable, is_transient
from shared.settings import RedisSettings, SupabaseSettings, load_settings
from workers.dead_letters import refused_outcome
from workers.process import exit_on_startup_error, on_stop_signal

CAP_S = 10.0
"""The longest pause between two tries while Supabase is away."""

PATIENCE_S = 300.0
"""How long outcomes that are all refused for one reason are kept, in case it is the database that is wrong."""

FORGET_S = 3600.0
"""How long after that their reason is theirs without another wait."""

TOO_SLOW = "57014"
"""Postgres' query_canceled: the statement took longer than it may."""

log = structlog.get_logger()


class Apply(Protocol):
    """`Database.apply`."""

    def __call__(
        self, outcomes: Sequence[dict[str, Any]], /, *, all_wrong: bool = False
    ) -> Applied: ...


class Patience:
    """Waits a while for each reason, then no more for an hour."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def is_over(self, reason: str) -> bool:
        now = time.monotonic()
        if now - self._since.get(reason, -FORGET_S) >= FORGET_S:
            self._since[reason] = now
        return now - self._since[reason] >= PATIENCE_S


def back_off_s(attempts: int) -> float:
    """Return how long to wait after so many failures: full jitter, so that recorders don't come back together."""
    return random.uniform(0, min(CAP_S, 0.2 * 2 ** min(attempts, 10)))  # noqa: S311


class Recorder:
    def __init__(self, outbox: Outbox, apply: Apply, stopping: Flag) -> None:
        self._outbox = outbox
        self._apply = apply
        self._stopping = stopping
        self._patience = Patience()

    def run(self) -> None:
        """Record until told to stop."""
        tidy = False
        while not self._stopping.is_set():
            try:
                tidy = tidy or self._outbox.forget_idle() >= 0
                self.step()
            except redis.RedisError as error:
                if not is_transient(error):
                    raise
                log.warning("redis.away", error=str(error))
                self._stopping.wait(random.uniform(0.5, 2))  # noqa: S311

    def step(self, idle_s: float = 5) -> int:
        """Record one batch; return how many outcomes it had."""
        entries = self._outbox.read(idle_s=idle_s)
        if entries:
            self._record(entries)
        return len(entries)

    def _record(self, entries: Sequence[Entry]) -> None:
        try:
            applied = self._patiently([entry.row for entry in entries])
        except DatabaseError as error:
            self._divide(entries, error)
            return
        if applied is None:
            return  # shutting down: the entries stay pending, another recorder takes them
        for refused in applied.refused:
            _tell("outcome.refused", entries[refused.row], refused.why)
        done = [entry for index, entry in enumerate(entries) if index not in applied.busy]
        self._outbox.done(done)
        self._outbox.announce(applied.changed)
        log.info("outcomes.recorded", count=len(done), busy=len(applied.busy))

    def _divide(self, entries: Sequence[Entry], error: DatabaseError) -> None:
        """Go on with halves of a batch that is too slow, too large or unreadable, down to the one that is."""
        if len(entries) > 1:
            middle = len(entries) // 2
            self._record(entries[:middle])
            self._record(entries[middle:])
        elif isinstance(error, DatabaseUnavailableError):
            _tell(
                "outcome.waits", entries[0], str(error)
            )  # it stays pending, and comes back after `ABANDONED_MS`
        else:
            self._bury(entries[0], error)

    def _bury(self, entry: Entry, error: DatabaseError) -> None:
        """Keep an outcome that Supabase can't even look at as a dead letter; until that is there, nothing is lost."""
        _tell("outcome.refused", entry, str(error))
        letter = refused_outcome(entry.row, str(error))
        try:
            buried = self._patiently([letter.model_dump(mode="json", exclude_none=True)])
        except DatabaseError as worse:
            _tell("outcome.not_buried", entry, str(worse))
            return
        if buried:
            self._outbox.done([entry])

    def _patiently(self, rows: list[dict[str, Any]]) -> Applied | None:
        """Apply rows, however long Supabase is away or not as it should be; None when told to stop meanwhile.

        Raises:
            DatabaseError: Supabase refuses these rows, or so many of them.
        """
        attempts, all_wrong = 0, False
        while True:
            try:
                return self._apply(rows, all_wrong=all_wrong)
            except DatabaseUnavailableError as error:
                if error.sqlstate == TOO_SLOW:
                    raise  # smaller batches may be quick enough
                attempts += 1
                at_once = (
                    not all_wrong
                    and error.sqlstate == NO_ROW_S_FAULT
                    and self._patience.is_over(str(error))
                )
                all_wrong = all_wrong or at_once
                if not at_once and self._stopping.wait(self._complain(error, attempts)):
                    return None

    def _complain(self, error: DatabaseUnavailableError, attempts: int) -> float:
        """Say what is wrong, and what to do where somebody has to; return how long to wait."""
        pause = back_off_s(attempts)
        if to_do := diagnose(error):
            log.error("supabase.not_usable", attempts=attempts, error=str(error), to_do=to_do)
            self._outbox.complain(f"{error}: {to_do}")
        else:
            log.warning(
                "supabase.away", attempts=attempts, pause_s=round(pause, 2), error=str(error)
            )
        return pause


def _tell(event: str, entry: Entry, why: str) -> None:
    log.warning(event, row=entry.row.get("type"), id=entry.row.get("id"), error=why)


def main() -> None:
    stopping = Flag()
    on_stop_signal(stopping.set)
    with exit_on_startup_error():
        logs.configure("record")
        client = connect_durable(load_settings(RedisSettings))
        database = Database(load_settings(SupabaseSettings))
    consumer = f"{socket.gethostname()}:{os.getpid()}:{int(time.time())}"
    Recorder(Outbox(client, consumer), database.apply, stopping).run()


if __name__ == "__main__":
    main()

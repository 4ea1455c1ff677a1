"""The recorder: carries outcomes from the outbox to Supabase in batches.

A refused outcome becomes a dead letter and holds up no further outcome. While Supabase is
unavailable, or its schema does not fit (a missing migration, a renamed column), outcomes stay in
the outbox and the log says what to repair.

Any number of recorders may run: `python -m workers.recorder`.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any

import redis
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.nap import sleep_using_event

from shared import logs
from shared.database import Database
from shared.database.diagnosis import SCHEMA_FAULT, diagnose
from shared.database.models import Applied
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.outbox import Outbox, OutboxEntry
from shared.redis import connect_durable, is_transient
from shared.settings import RedisSettings, SupabaseSettings, load_settings
from workers.dead_letters import build_outcome_dead_letter
from workers.process import exit_on_startup_error, on_stop_signal
from workers.retry import Backoff, RejectionWindow

SUPABASE_BACKOFF = Backoff(base_s=0.2, cap_s=10, floor=0)
REDIS_BACKOFF = Backoff(base_s=1, cap_s=2, floor=0.25)

QUERY_CANCELED = "57014"
"""SQLSTATE of a statement that ran into Postgres' time limit."""

log = structlog.get_logger()


class Recorder:
    """Records the batches of an outbox consumer; `apply` is `Database.outcomes.apply`."""

    def __init__(
        self,
        outbox: Outbox,
        apply: Callable[..., Applied],
        stopping: Flag,
        *,
        supabase_backoff: Backoff = SUPABASE_BACKOFF,
        redis_backoff: Backoff = REDIS_BACKOFF,
        rejection_window: RejectionWindow | None = None,
    ) -> None:
        self._outbox = outbox
        self._apply = apply
        self._stopping = stopping
        self._redis_backoff = redis_backoff
        self._rejection_window = rejection_window or RejectionWindow()
        self._retrying = Retrying(
            retry=retry_if_exception(_is_outage),
            wait=supabase_backoff,
            sleep=sleep_using_event(stopping),
            before_sleep=self._report_outage,
            reraise=True,
        )

    def run(self) -> None:
        """Record until the process stops.

        Raises:
            redis.RedisError: any error but a transient one.
        """
        tidied = False
        while not self._stopping.is_set():
            try:
                if not tidied:
                    self._outbox.prune_consumers()
                    tidied = True
                self.step()
            except redis.RedisError as error:
                if not is_transient(error):
                    raise
                log.warning("redis.unavailable", error=str(error))
                self._stopping.wait(self._redis_backoff.after(1))

    def step(self, idle_s: float = 5) -> int:
        """Record a batch; return the number of its outcomes."""
        entries = self._outbox.read(idle_s=idle_s)
        if entries:
            self._record(entries)
        return len(entries)

    def _record(self, entries: Sequence[OutboxEntry]) -> None:
        try:
            applied = self._apply_with_retry([entry.row for entry in entries])
        except DatabaseError as error:
            self._divide(entries, error)
            return
        if applied is None:
            return  # the process stops: another recorder takes the entries, which stay pending
        for refused in applied.refused:
            _warn("outcome.refused", entries[refused.row], refused.why)
        done = [entry for index, entry in enumerate(entries) if index not in applied.busy]
        self._outbox.acknowledge(done)
        self._outbox.publish_changes(applied.changed)
        log.info("outcomes.recorded", count=len(done), busy=len(applied.busy))

    def _divide(self, entries: Sequence[OutboxEntry], error: DatabaseError) -> None:
        """Record a refused batch in halves, down to the single outcome that causes the error."""
        if len(entries) > 1:
            middle = len(entries) // 2
            self._record(entries[:middle])
            self._record(entries[middle:])
        elif isinstance(error, DatabaseUnavailableError):
            _warn("outcome.postponed", entries[0], str(error))  # it is read again when abandoned
        else:
            self._dead_letter(entries[0], error)

    def _dead_letter(self, entry: OutboxEntry, error: DatabaseError) -> None:
        """Record a dead letter in place of an outcome that Supabase refuses."""
        _warn("outcome.refused", entry, str(error))
        letter = build_outcome_dead_letter(entry.row, str(error))
        try:
            recorded = self._apply_with_retry([letter.model_dump(mode="json", exclude_none=True)])
        except DatabaseError as letter_error:
            _warn("dead_letter.not_recorded", entry, str(letter_error))
            return
        if recorded:
            self._outbox.acknowledge([entry])

    def _apply_with_retry(self, rows: list[dict[str, Any]]) -> Applied | None:
        """Apply rows, and retry for as long as Supabase is unavailable or its schema does not fit.

        Returns None when the process stops meanwhile.

        Raises:
            DatabaseError: Supabase refuses these rows, or so many of them.
        """
        all_wrong = False
        for attempt in self._retrying:
            if self._stopping.is_set() and attempt.retry_state.attempt_number > 1:
                return None
            with attempt:
                try:
                    return self._apply(rows, all_wrong=all_wrong)
                except DatabaseUnavailableError as error:
                    if all_wrong or not self._are_rows_to_blame(error):
                        raise
                    all_wrong = True
                    return self._apply(rows, all_wrong=True)
        return None

    def _are_rows_to_blame(self, error: DatabaseUnavailableError) -> bool:
        return error.sqlstate == SCHEMA_FAULT and self._rejection_window.has_passed(str(error))

    def _report_outage(self, retry_state: RetryCallState) -> None:
        """Log the failed attempt, and what to repair where a repair is needed."""
        error = retry_state.outcome and retry_state.outcome.exception()
        attempts = retry_state.attempt_number
        if isinstance(error, DatabaseError) and (action := diagnose(error)):
            log.error("supabase.unusable", attempts=attempts, error=str(error), action=action)
            self._outbox.report_blocked(f"{error}: {action}")
        else:
            pause_s = round(retry_state.upcoming_sleep, 2)
            log.warning(
                "supabase.unavailable", attempts=attempts, pause_s=pause_s, error=str(error)
            )


def _is_outage(error: BaseException) -> bool:
    """Return whether to retry; a batch that ran into the time limit is halved instead."""
    return isinstance(error, DatabaseUnavailableError) and error.sqlstate != QUERY_CANCELED


def _warn(event: str, entry: OutboxEntry, error: str) -> None:
    log.warning(event, row=entry.row.get("type"), id=entry.row.get("id"), error=error)


def main() -> None:
    stopping = Flag()
    on_stop_signal(stopping.set)
    with exit_on_startup_error():
        logs.configure_logging("record")
        client = connect_durable(load_settings(RedisSettings))
        database = Database(load_settings(SupabaseSettings))
    consumer = f"{socket.gethostname()}:{os.getpid()}:{int(time.time())}"
    Recorder(Outbox(client, consumer), database.outcomes.apply, stopping).run()


if __name__ == "__main__":
    main()

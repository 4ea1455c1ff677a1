"""The recorder: carries outcomes from the outbox to Supabase in batches.

A refused outcome becomes a dead letter and holds up no further outcome. The outcomes of an
organization that cannot be applied wait in Supabase (workers/set_aside.py), and hold up no further
organization. While Supabase is unavailable, outcomes stay in the outbox.

Any number of recorders may run: `python -m workers.recorder`.
"""

import math
import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any, Protocol
from uuid import UUID

import redis
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.nap import sleep_using_event

from shared import logs, metrics, processes
from shared.database import Database
from shared.database.diagnosis import diagnose
from shared.database.models import Applied, Refused
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.number_states import NumberStates
from shared.outbox import Outbox, OutboxEntry
from shared.outcomes import NEWEST_OUTCOME, SetAside
from shared.redis import connect_durable, is_transient
from shared.route_cache import RouteCache
from shared.settings import RedisSettings, SupabaseSettings, load_settings
from shared.traces import find_traces, start_traces
from shared.transitions import tell
from workers.dead_letters import build_outcome_dead_letter
from workers.process import (
    SupervisedThreads,
    collect_rarely,
    exit_on_startup_error,
    on_stop_signal,
)
from workers.pulse import Pulse
from workers.retry import Backoff
from workers.set_aside import SetAsideRetrier, report_set_aside
from workers.traced import TracedOutcomes

SUPABASE_BACKOFF = Backoff(base_s=0.2, cap_s=10, floor=0)
REDIS_BACKOFF = Backoff(base_s=1, cap_s=2, floor=0.25)

ASK_VERSION_EVERY_S = 15.0

QUERY_CANCELED = "57014"
"""SQLSTATE of a statement that ran into Postgres' time limit."""

log = structlog.get_logger()


class OutcomeWriter(Protocol):
    """The part of `Database.outcomes` that the recorder uses."""

    def apply(self, outcomes: Sequence[dict[str, Any]]) -> Applied:
        """Apply outcomes in one transaction."""

    def put_aside(self, outcomes: Sequence[dict[str, Any]], code: str, why: str) -> list[SetAside]:
        """Set the organizations of outcomes aside without applying them."""


class Recorder:
    """Records the batches of the outbox. Calls `on_set_aside` when outcomes wait."""

    def __init__(
        self,
        outbox: Outbox,
        outcomes: OutcomeWriter,
        stopping: Flag,
        *,
        on_set_aside: Callable[[], object] = lambda: None,
        supabase_backoff: Backoff = SUPABASE_BACKOFF,
        redis_backoff: Backoff = REDIS_BACKOFF,
    ) -> None:
        self._outbox = outbox
        self._outcomes = outcomes
        self._stopping = stopping
        self._on_set_aside = on_set_aside
        self.on_recorded: Callable[[list[dict[str, Any]]], object] = lambda _rows: None
        """Called with the outcomes that Supabase has taken."""
        self.on_deleted: Callable[[UUID], bool] = lambda _id: False
        """Called with an integration of an organization that does not exist any more; returns
        whether this was not known before."""
        self.newest = NEWEST_OUTCOME
        self.find_version: Callable[[], int] = lambda: self.newest
        """Returns the newest version of outcomes that the functions of Supabase know."""
        self._knows = 1
        self._asked_s = -math.inf
        self._redis_backoff = redis_backoff
        self._is_blocked = False
        self.progress = 0
        """Grows while it reads the outbox, or tries to write a batch."""
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
        while not self._stopping.is_set():
            self.progress += 1
            try:
                self.step()
            except redis.RedisError as error:
                if not is_transient(error):
                    raise
                log.warning("redis.unavailable", error=str(error))
                self._stopping.wait(self._redis_backoff.after(1))

    def step(self, idle_s: float = 5) -> int:
        """Record a batch; return the number of its outcomes.

        Outcomes of a version that this recorder, or Supabase, does not know wait in the outbox.
        """
        self._look_at_version()
        entries = self._outbox.read(idle_s=idle_s)
        known = [entry for entry in entries if entry.version <= self._knows]
        for entry in entries:
            if entry.version > self._knows:
                self._outbox.leave(entry)
        if known:
            self._record(known)
        return len(entries)

    def _look_at_version(self) -> None:
        """Ask from time to time what Supabase knows; have read again what was left before."""
        if self.newest < 2 or time.monotonic() - self._asked_s < ASK_VERSION_EVERY_S:
            return
        self._asked_s = time.monotonic()
        try:
            self._knows = min(self.newest, self.find_version())
        except DatabaseError as error:
            log.warning("supabase.unavailable", error=str(error))
            return
        self._outbox.return_left(self._knows)

    def _record(self, entries: Sequence[OutboxEntry]) -> None:
        try:
            applied = self._apply_with_retry([entry.row for entry in entries])
        except DatabaseError as error:
            self._divide(entries, error)
            return
        if applied is None:
            return  # the process stops: another recorder takes the entries, which stay pending
        self._report_refused(entries, applied.refused)
        self._measure(entries, len(applied.refused))
        self._outbox.acknowledge(entries)
        self._outbox.publish_changes(applied.changed)
        self._report_waiting(applied.set_aside, applied.waiting)
        refused = {each.row for each in applied.refused}
        self.on_recorded([entry.row for index, entry in enumerate(entries) if index not in refused])
        log.debug("outcomes.recorded", count=len(entries) - applied.waiting)

    @staticmethod
    def _measure(entries: Sequence[OutboxEntry], refused: int) -> None:
        now_s = time.time()
        for entry in entries:
            metrics.observe("wpp_outcome_recorded_seconds", now_s - entry.added_s)
        metrics.count("wpp_outcomes_recorded_total", amount=len(entries) - refused)
        metrics.count("wpp_outcomes_refused_total", amount=refused)

    def _divide(self, entries: Sequence[OutboxEntry], error: DatabaseError) -> None:
        """Record a batch that failed in parts.

        A batch that takes too long is divided by organization: the organization that takes too
        long alone is set aside. Any other batch is halved down to the outcome that is refused.
        """
        if isinstance(error, DatabaseUnavailableError):
            groups = _group_by_owner(entries)
            if len(groups) == 1:
                self._put_aside(entries, error)
            else:
                for group in groups:
                    self._record(group)
        elif len(entries) > 1:
            middle = len(entries) // 2
            self._record(entries[:middle])
            self._record(entries[middle:])
        else:
            self._dead_letter(entries[0], error)

    def _put_aside(self, entries: Sequence[OutboxEntry], error: DatabaseError) -> None:
        rows = [entry.row for entry in entries]
        try:
            set_aside = self._outcomes.put_aside(rows, error.sqlstate or "", str(error))
        except DatabaseError as failure:  # they are read again when abandoned
            log.warning("outcomes.postponed", count=len(rows), error=str(failure))
            return
        self._outbox.acknowledge(entries)
        self._report_waiting(set_aside, len(entries))

    def _report_refused(self, entries: Sequence[OutboxEntry], refused: Sequence[Refused]) -> None:
        deleted: dict[UUID, Any] = {}
        for each in refused:
            entry = entries[each.row]
            _warn("outcome.refused", entry, each.why)
            if each.reason == "organization_deleted" and entry.row.get("integration_id"):
                deleted[UUID(entry.row["integration_id"])] = entry.row.get("organization_id")
        for integration_id, organization_id in deleted.items():
            if self.on_deleted(integration_id):
                tell(
                    "organization.deleted",
                    organization_id=organization_id,
                    integration_id=str(integration_id),
                )

    def _report_waiting(self, set_aside: Sequence[SetAside], waiting: int) -> None:
        for each in set_aside:
            report_set_aside(each)
        if waiting:
            self._on_set_aside()

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
        """Apply rows, and retry for as long as Supabase is unavailable.

        Returns None when the process stops meanwhile.

        Raises:
            DatabaseError: Supabase refuses these rows, or so many of them.
        """
        for attempt in self._retrying:
            if self._stopping.is_set() and attempt.retry_state.attempt_number > 1:
                return None
            self.progress += 1
            with attempt:
                applied = self._outcomes.apply(rows)
        self._clear_outage()
        return applied

    def _report_outage(self, retry_state: RetryCallState) -> None:
        """Log the failed attempt and publish its reason, with the repair where one is needed."""
        self.progress += 1
        error = retry_state.outcome and retry_state.outcome.exception()
        attempts = retry_state.attempt_number
        reason = str(error)
        if isinstance(error, DatabaseError) and (action := diagnose(error)):
            log.error("supabase.unusable", attempts=attempts, error=reason, action=action)
            reason = f"{reason}: {action}"
        else:
            pause_s = round(retry_state.upcoming_sleep, 2)
            log.warning("supabase.unavailable", attempts=attempts, pause_s=pause_s, error=reason)
        self._is_blocked = True
        self._outbox.report_blocked(reason)

    def _clear_outage(self) -> None:
        """Withdraw the reason of an outage that is over."""
        if self._is_blocked:
            self._is_blocked = False
            self._outbox.report_blocked(None)


def _group_by_owner(entries: Sequence[OutboxEntry]) -> list[list[OutboxEntry]]:
    """Return the entries of each organization or account, the smallest group first."""
    groups: dict[Any, list[OutboxEntry]] = {}
    for entry in entries:
        owner = entry.row.get("organization_id") or entry.row.get("account")
        groups.setdefault(owner, []).append(entry)
    return sorted(groups.values(), key=len)


def _is_outage(error: BaseException) -> bool:
    """Return whether to retry; a batch that ran into the time limit is divided instead."""
    return isinstance(error, DatabaseUnavailableError) and error.sqlstate != QUERY_CANCELED


def _warn(event: str, entry: OutboxEntry, error: str) -> None:
    log.warning(event, row=entry.row.get("type"), id=entry.row.get("id"), error=error)


def start_recorder(threads: SupervisedThreads, client: redis.Redis, database: Database) -> Recorder:
    """Start the threads of a recorder; return it."""
    outbox = Outbox(client)
    retrier = SetAsideRetrier(outbox, database.outcomes, threads.stopping)
    routes = RouteCache(client, database=None)
    traces = find_traces()
    outcomes = TracedOutcomes(database.outcomes, traces) if traces else database.outcomes
    recorder = Recorder(outbox, outcomes, threads.stopping, on_set_aside=retrier.wake)
    recorder.find_version = database.outcomes.find_version
    recorder.on_deleted = routes.delete_route
    recorder.on_recorded = NumberStates(client, routes.name_account).report_rows

    def record() -> None:
        try:
            recorder.run()
        finally:
            retrier.wake()

    threads.start(retrier.run)
    threads.start(record)
    return recorder


def main() -> int:
    """Run until the process stops; return the exit code."""
    threads = SupervisedThreads()
    on_stop_signal(threads.stopping.set)
    with exit_on_startup_error():
        logs.configure_logging("record")
        start_traces("record")
        client = connect_durable(load_settings(RedisSettings))
        database = Database(load_settings(SupabaseSettings))
    recorder = start_recorder(threads, client, database)
    collect_rarely()
    with Pulse(client, [processes.RECORDER], progress=lambda: recorder.progress):
        threads.stopping.wait()
    return threads.join()


if __name__ == "__main__":
    raise SystemExit(main())

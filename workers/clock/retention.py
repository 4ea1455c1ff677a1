"""Retention: deletes old logs, and ends outcomes that were parked for too long as dead letters."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event as Flag

import structlog

from shared.database import Database
from shared.errors import DatabaseError
from shared.events import utc_now
from shared.settings import RetentionSettings

INTERVAL_S = 60.0

log = structlog.get_logger()


def run_retention(
    database: Database,
    settings: RetentionSettings,
    stopping: Flag,
    interval_s: float = INTERVAL_S,
) -> None:
    """Apply the retention until the process stops; any number of processes may do so."""
    while True:
        done = prune(database, settings, utc_now(), stopping)
        if any(done.values()):
            log.info("retention.done", **done)
        if stopping.wait(interval_s):
            return


def prune(
    database: Database, settings: RetentionSettings, now: datetime, stopping: Flag
) -> dict[str, int]:
    """Apply the retention as of `now`.

    Returns the number of parked outcomes that were applied (`unparked`) or ended as dead letters
    (`expired`), and of rows (`pruned`), `events`, `deliveries` and uploaded `files` that were
    deleted. A task that fails counts 0, does not stop the remaining tasks, and runs again the next
    time.
    """
    parked_before = now - timedelta(days=settings.wpp_parked_days)
    logged_before = now - timedelta(days=settings.wpp_log_days)
    noted_before = now - timedelta(days=settings.wpp_event_days)
    tried_before = now - timedelta(days=settings.wpp_delivery_days)
    uploaded_before = now - timedelta(days=settings.wpp_file_days)
    maintenance = database.maintenance
    return {
        "unparked": _repeat("unparked", maintenance.apply_parked, stopping),
        "expired": _repeat("expired", lambda: maintenance.expire_parked(parked_before), stopping),
        "pruned": _repeat("pruned", lambda: maintenance.prune(logged_before), stopping),
        "deliveries": _repeat(
            "deliveries", lambda: maintenance.prune_deliveries(tried_before), stopping
        ),
        "events": _repeat("events", lambda: maintenance.prune_events(noted_before), stopping),
        "files": _repeat("files", lambda: _prune_files(database, uploaded_before), stopping),
    }


def _prune_files(database: Database, before: datetime) -> int:
    """Delete uploaded files that no message uses: first their rows, so that none can use them."""
    paths = database.files.prune(before)
    if paths:
        database.storage.remove(paths)
    return len(paths)


def _repeat(task: str, run_part: Callable[[], int], stopping: Flag) -> int:
    """Run a task in parts until a part finds no more rows; return the number of rows."""
    total = 0
    try:
        while (count := run_part()) and not stopping.is_set():
            total += count
    except DatabaseError as error:
        log.warning("retention.failed", task=task, error=str(error))
    return total

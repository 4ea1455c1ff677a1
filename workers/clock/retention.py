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
    (`expired`), and of rows that were deleted (`pruned`). A task that fails counts 0, does
    not stop the remaining tasks, and runs again the next time.
    """
    parked_before = now - timedelta(days=settings.wpp_parked_days)
    logged_before = now - timedelta(days=settings.wpp_log_days)
    maintenance = database.maintenance
    return {
        "unparked": _repeat("unparked", maintenance.apply_parked, stopping),
        "expired": _repeat("expired", lambda: maintenance.expire_parked(parked_before), stopping),
        "pruned": _repeat("pruned", lambda: maintenance.prune(logged_before), stopping),
    }


def _repeat(task: str, run_part: Callable[[], int], stopping: Flag) -> int:
    """Run a task in parts until a part finds no more rows; return the number of rows."""
    total = 0
    try:
        while (count := run_part()) and not stopping.is_set():
            total += count
    except DatabaseError as error:
        log.warning("retention.failed", task=task, error=str(error))
    return total

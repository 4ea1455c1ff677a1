"""Keeping house: what was kept for reference goes when its time is over, what waited too long becomes a dead letter."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event as Flag

import structlog

from shared.database import Database
from shared.errors import DatabaseError
from shared.events import utc_now
from shared.settings import RetentionSettings

EVERY_S = 60.0

log = structlog.get_logger()


def run_retention(database: Database, settings: RetentionSettings, stopping: Flag) -> None:
    """Keep house every minute. Any number of processes may."""
    while True:
        done = prune(database, settings, utc_now(), stopping)
        if any(done.values()):
            log.info("house.kept", **done)
        if stopping.wait(EVERY_S):
            return


def prune(
    database: Database, settings: RetentionSettings, now: datetime, stopping: Flag
) -> dict[str, int]:
    """Keep house as of `now`; return how many outcomes were `unparked` or `expired`, and rows `pruned`.

    Each chore by itself: one that fails is tried again the next time, and is in nobody's way.
    """
    parked_before = now - timedelta(days=settings.wpp_parked_days)
    kept_before = now - timedelta(days=settings.wpp_log_days)
    return {
        "unparked": _all_of("unparked", database.maintenance.apply_parked, stopping),
        "expired": _all_of(
            "expired", lambda: database.maintenance.expire_parked(parked_before), stopping
        ),
        "pruned": _all_of("pruned", lambda: database.maintenance.prune(kept_before), stopping),
    }


def _all_of(chore: str, part: Callable[[], int], stopping: Flag) -> int:
    """Do one part after another until nothing is left of it."""
    total = 0
    try:
        while (done := part()) and not stopping.is_set():
            total += done
    except DatabaseError as error:
        log.warning("house.not_kept", chore=chore, error=str(error))
    return total

"""Keeping house: what was kept for reference goes when its time is over, what waited too long becomes a dead letter."""

from datetime import datetime, timedelta
from threading import Event as Flag

import structlog

from shared.database import Database
from shared.errors import DatabaseError
from shared.events import utc_now
from shared.settings import HouseSettings

EVERY_S = 3600.0

log = structlog.get_logger()


def keep_house(database: Database, settings: HouseSettings, stopping: Flag) -> None:
    """Keep house every hour. Any number of processes may."""
    while True:
        try:
            log.info("house.kept", **keep(database, settings, utc_now()))
        except DatabaseError as error:
            log.warning("house.not_kept", error=str(error))
        if stopping.wait(EVERY_S):
            return


def keep(database: Database, settings: HouseSettings, now: datetime) -> dict[str, int]:
    """Keep house as of `now`; return how many outcomes `expired`, and how many raw logs were `pruned`."""
    return database.keep_house(
        parked_before=now - timedelta(days=settings.wpp_parked_days),
        logged_before=now - timedelta(days=settings.wpp_log_days),
    )

"""The clock: wakes lanes that are due, takes over events whose worker is gone, repeats wake-ups that were lost.

Any number may run; one is enough: `python -m workers.clock`.
"""

import random
import signal
import threading
from threading import Event as Flag

import redis
import structlog

from shared import durable, logs
from shared.database import Database
from shared.directory import Directory, Route
from shared.errors import DatabaseError
from shared.events import KINDS, Kind, SendEvent
from shared.lanes import Claim, Lanes, Postponed, Verdict
from shared.settings import EngineSettings, HouseSettings, RedisSettings, SupabaseSettings, load
from shared.wakeups import wake
from workers import house, sessions
from workers.starting import or_say_why
from workers.unknown import unknown

TICK_S = 1.0
"""The longest pause between two sweeps; shorter when a lane falls due earlier."""

FEWEST_S = 0.05

DIRECTORY_S = 60.0
"""How old Redis' copy of the integrations may be."""

log = structlog.get_logger()


class Clock:
    def __init__(self, client: "redis.Redis", lanes: Lanes, directory: Directory) -> None:
        self._client = client
        self._lanes = lanes
        self._directory = directory

    def tick(self) -> float:
        """Sweep every kind once; return seconds until the next sweep is worth it."""
        return max(FEWEST_S, min(self._sweep(kind) for kind in KINDS))

    def _sweep(self, kind: Kind) -> float:
        swept = self._lanes.sweep(kind)
        for claim in swept.given_up:
            log.warning("claim.given_up", event_id=str(claim.id), lane=claim.lane, attempt=claim.attempts)
            self._lanes.conclude(claim, self._verdict(claim))
        if swept.ready or swept.given_up:
            wake(self._client, kind, swept.ready + len(swept.given_up))
        return TICK_S if swept.next_due_ms is None else min(TICK_S, swept.next_due_ms / 1000)

    def _verdict(self, claim: Claim) -> Verdict:
        """A send whose worker vanished may have gone out: nobody can know. Everything else may be done again."""
        if claim.kind == "send":
            route = self._directory.find(SendEvent.model_validate_json(claim.body).integration_id)
            return unknown(claim, "its worker stopped while the platform was being asked", route)
        return Postponed(0, "its worker stopped")


def keep_directory(directory: Directory, database: Database, stopping: Flag) -> None:
    """Copy Supabase's integrations into Redis every minute, for whoever has only Redis."""
    while True:
        try:
            resend = database.organizations_that_resend()
            directory.remember(
                Route.of(each, resends_unknown=each.organization_id in resend)
                for each in database.every_integration()
                if each.account
            )
        except (DatabaseError, redis.RedisError) as error:
            log.warning("directory.not_copied", error=str(error))
        if stopping.wait(DIRECTORY_S):
            return


def main() -> None:
    logs.configure("clock")
    stopping = Flag()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    with or_say_why():
        client = durable.connect_durable(load(RedisSettings))
        database, engine, kept_for = Database(load(SupabaseSettings)), load(EngineSettings), load(HouseSettings)
    directory = Directory(client, source=None)  # a policy that Redis does not know is the cautious one
    threading.Thread(target=sessions.keep, args=(stopping,)).start()
    threading.Thread(target=house.keep_house, args=(database, kept_for, stopping)).start()
    threading.Thread(target=keep_directory, args=(directory, database, stopping)).start()
    clock, pause = Clock(client, Lanes(client, engine), directory), 0.0
    while not stopping.wait(pause):
        try:
            pause = clock.tick()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            log.warning("redis.away", error=str(error))
            pause = random.uniform(0.5, 1.5)  # noqa: S311


if __name__ == "__main__":
    main()

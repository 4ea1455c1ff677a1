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
from shared.events import KINDS, SendEvent
from shared.lanes import Claim, Lanes, Postponed, Verdict
from shared.settings import EngineSettings, RedisSettings, SupabaseSettings, load
from shared.wakeups import wake
from workers.broker import broker
from workers.unknown import unknown

TICK_S = 1.0
"""The longest pause between two sweeps; shorter when a lane falls due earlier."""

FEWEST_S = 0.05

DIRECTORY_S = 60.0
"""How old Redis' copy of the integrations may be."""

log = structlog.get_logger()


def tick(lanes: Lanes, directory: Directory) -> float:
    """Sweep every kind once; return seconds until the next sweep is worth it."""
    pause = TICK_S
    for kind in KINDS:
        swept = lanes.sweep(kind)
        for claim in swept.given_up:
            log.warning("claim.given_up", event_id=str(claim.id), lane=claim.lane, attempt=claim.attempts)
            lanes.conclude(claim, verdict_on_given_up(claim, directory))
        if swept.ready or swept.given_up:
            wake(broker.client, kind, swept.ready + len(swept.given_up))
        if swept.next_due_ms is not None:
            pause = min(pause, swept.next_due_ms / 1000)
    return max(FEWEST_S, pause)


def verdict_on_given_up(claim: Claim, directory: Directory) -> Verdict:
    """A send whose worker vanished may have gone out: nobody can know. Everything else may be done again."""
    if claim.kind == "send":
        route = directory.find(SendEvent.model_validate_json(claim.body).integration_id)
        return unknown(claim, "its worker stopped while the platform was being asked", route)
    return Postponed(0, "its worker stopped")


def main() -> None:
    logs.configure("clock")
    stopping = Flag()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    settings = load(RedisSettings)
    durable.refuse_volatile(broker.client, allow=settings.wpp_allow_volatile_redis)
    lanes = Lanes(broker.client, load(EngineSettings))
    directory = Directory(broker.client, source=None)  # a policy that Redis does not know is the cautious one
    threading.Thread(target=keep_directory, args=(directory, Database(load(SupabaseSettings)), stopping)).start()
    pause = 0.0
    while not stopping.wait(pause):
        try:
            pause = tick(lanes, directory)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            log.warning("redis.away", error=str(error))
            pause = random.uniform(0.5, 1.5)  # noqa: S311


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


if __name__ == "__main__":
    main()

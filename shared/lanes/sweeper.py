"""Sweeps lanes: due lanes become ready, lost bells ring again, ended leases are taken over."""

import random
from collections.abc import Callable, Iterable, Sequence
from threading import Event as Flag

import redis
import structlog
from pydantic import BaseModel

from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimResult, LostEvent, Postponed, Settled, SweepResult
from shared.redis import CONNECTION_ERRORS, is_transient
from shared.transitions import tell

TICK_S = 1.0
"""The longest pause between two sweeps; shorter when a lane is due earlier."""
SHORTEST_PAUSE_S = 0.05
MAX_STEPS = 10
"""Sweeps of a queue in a row: the remaining queues wait meanwhile."""
MAX_LOST_LEASES = 3
"""After how many lost leases in a row an event counts as the cause of its workers' end."""
SUSPECT_SPREAD_S = 10.0
"""Over how long the events of a worker that stopped again are spread: the cause then runs alone."""
WORKER_STOPPED = "worker_stopped"

log = structlog.get_logger(__name__)


def run_again(claim: Claim) -> ClaimResult:
    """Conclude a claim whose worker stopped, for actors that may run twice.

    After `MAX_LOST_LEASES` the event has failed: its record keeps the reason and the event.
    """
    if claim.lost_leases >= MAX_LOST_LEASES:
        dead = {"reason": explain_lost_leases(claim), "code": WORKER_STOPPED}
        return Settled("failed", fields=dead | {"dead_letter": claim.body.decode()})
    spread_s = SUSPECT_SPREAD_S if claim.lost_leases > 1 else 0
    return Postponed(random.uniform(0, spread_s), "its worker stopped")  # noqa: S311


def explain_lost_leases(claim: Claim) -> str:
    """Return the sentence for a dead letter: the workers of this event stopped."""
    return f"its worker stopped, or did not come to an end, {claim.lost_leases} times in a row"


def _require_transient(error: redis.RedisError) -> None:
    if not is_transient(error):
        raise error


def tell_nothing(_lost: LostEvent) -> Sequence[BaseModel]:
    """Return no outcomes: the log alone tells of a lost event."""
    return ()


class Sweeper:
    """Sweeps the lanes of `queues`.

    `policy` concludes claims whose lease has ended. `describe_lost` returns the outcomes of an
    event whose record is missing.
    """

    def __init__(
        self,
        lanes: Lanes,
        queues: Iterable[str],
        policy: Callable[[Claim], ClaimResult] = run_again,
        describe_lost: Callable[[LostEvent], Sequence[BaseModel]] = tell_nothing,
    ) -> None:
        self._lanes = lanes
        self._queues = tuple(queues)
        self.ticks = 0
        self._policy = policy
        self._describe_lost = describe_lost

    def run(self, stopping: Flag) -> None:
        """Tick until told to stop."""
        pause = 0.0
        while not stopping.wait(pause):
            self.ticks += 1
            pause = self.tick()

    def tick(self) -> float:
        """Sweep every queue once, all in one step; return the seconds until the next sweep.

        Transient errors of Redis are logged and retried at the next tick; any other is raised.
        """
        pause = TICK_S
        try:
            first = self._lanes.sweep_all(self._queues)
        except redis.RedisError as error:
            _require_transient(error)
            log.warning("redis.away", error=str(error))
            return pause
        for queue, swept in first.items():
            try:
                pause = min(pause, self._finish(queue, swept))
            except redis.RedisError as error:
                _require_transient(error)
                log.warning("redis.away", queue=queue, error=str(error))
                if isinstance(error, CONNECTION_ERRORS):
                    break  # the remaining queues would wait as long
        return max(SHORTEST_PAUSE_S, pause)

    def _finish(self, queue: str, swept: SweepResult) -> float:
        """Act on a sweep, and go on in short steps until no lane is due and no lease has ended.

        Returns the seconds until the next lane is due.
        """
        for step in range(MAX_STEPS):
            if step:
                swept = self._lanes.sweep(queue)
            for claim in swept.expired_claims:
                self._take_over(claim)
            if swept.lost:
                self._tell_lost(queue, swept.lost)
            if swept.next_due_ms != 0 and not swept.expired_claims:
                break
        return TICK_S if swept.next_due_ms is None else min(TICK_S, swept.next_due_ms / 1000)

    def _tell_lost(self, queue: str, lost: Sequence[LostEvent]) -> None:
        """Tell of lost events: their outcomes may be applied twice without harm."""
        for event in lost:
            about = {"event_id": str(event.id), "lane": event.lane, "tenant": event.tenant}
            if event.why == "record missing":
                hint = "its key in Redis is missing (a partial restore?); its lane goes on"
                log.error("event.record_lost", queue=queue, hint=hint, **about)
            else:
                hint = "more than WPP_UNKNOWN_LIMIT: it stays unknown, and cannot be resolved"
                log.warning("event.unknown_dropped", queue=queue, hint=hint, **about)
        outcomes = [outcome for event in lost for outcome in self._describe_lost(event)]
        self._lanes.tell_lost(queue, lost, outcomes)

    def _take_over(self, claim: Claim) -> None:
        """Conclude a claim whose lease has ended; an error does not affect the next claim."""
        about = {"event_id": str(claim.id), "lane": claim.lane, "attempt": claim.attempts}
        tell("claim.lease_expired", **about)
        try:
            result = self._policy(claim)
            counted, _ = self._lanes.conclude(claim, result)
            if counted:
                self._lanes.on_concluded(claim, result)
        except redis.RedisError:
            raise
        except Exception:
            log.exception("claim.takeover_failed", **about)  # the next sweep tries again

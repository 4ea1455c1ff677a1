"""Settles messages of unknown delivery that the platform's reports prove.

A proof counts when it is found twice, and everything that was in the outbox at the first time has
reached Supabase by the second: a message in work, whose reports came before its row, is seen then.
"""

from datetime import datetime, timedelta
from threading import Event as Flag
from uuid import UUID

import redis
import structlog

from shared.errors import DatabaseError
from shared.events import utc_now
from shared.lanes.records import find_records
from shared.outbox import Outbox
from workers.context import WorkerContext
from workers.send.in_doubt import settle_reported
from workers.send.matching import Proof
from workers.send.proofs import LOOK_BACK, find_proofs

INTERVAL_S = 5.0
ECHO_WAIT = timedelta(minutes=2)
"""How long a report without a task id waits for an echo: it may be of a message typed on the phone,
whose own webhook comes later."""

log = structlog.get_logger()


class Settler:
    """Finds proofs round by round, and settles those that hold."""

    def __init__(self, ctx: WorkerContext) -> None:
        self._ctx = ctx
        self._outbox = Outbox(ctx.redis)
        self._waiting: dict[UUID, tuple[Proof, bytes]] = {}
        """Proofs found before, and the newest entry of the outbox at that time."""

    def run_round(self, now: datetime) -> int:
        """Settle what is proven; return the number of messages.

        Raises:
            DatabaseError: Supabase did not answer.
            redis.RedisError: Redis did not answer.
        """
        confirmed = [
            proof for proof, newest in self._waiting.values() if self._outbox.has_passed(newest)
        ]
        evidence = self._ctx.database.messages.load_evidence(now - LOOK_BACK)
        newest = self._outbox.newest_id()
        found = find_proofs(evidence, lambda ids: find_records(self._ctx.redis, ids))
        proofs = [each for each in found if each.task_id or each.arrived_at < now - ECHO_WAIT]
        settled = sum(self._settle(proof) for proof in proofs if proof in confirmed)
        self._waiting = {
            proof.message_id: self._recall(proof) or (proof, newest)
            for proof in proofs
            if proof not in confirmed
        }
        return settled

    def _recall(self, proof: Proof) -> tuple[Proof, bytes] | None:
        known = self._waiting.get(proof.message_id)
        return known if known and known[0] == proof else None

    def _settle(self, proof: Proof) -> bool:
        if not settle_reported(self._ctx.redis, self._ctx.lanes, proof):
            return False
        log.info("send.proven", id=str(proof.message_id), task_id=proof.task_id)
        return True


def run_settling(ctx: WorkerContext, stopping: Flag, interval_s: float = INTERVAL_S) -> None:
    """Settle what is proven, again and again, until the process stops."""
    settler = Settler(ctx)
    while not stopping.wait(interval_s):
        try:
            settler.run_round(utc_now())
        except (DatabaseError, redis.RedisError) as error:
            log.warning("settling.failed", error=str(error))

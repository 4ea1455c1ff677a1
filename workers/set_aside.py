"""Retries the outcomes of organizations that the recorder set aside, each organization alone.

They wait in Supabase (supabase/migrations, schema `wpp`): a transaction of the CRM has locked their
rows, or a rule of the CRM refuses all of them. The pauses between two tries of an organization grow
up to half a minute.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import redis
import structlog

from shared.database.diagnosis import advise
from shared.database.models import ClaimedOutcomes, Retried, SetAsideClaim
from shared.errors import DatabaseError
from shared.outbox import Outbox
from shared.outcomes import SetAside
from shared.redis import is_transient
from shared.transitions import tell
from workers.retry import Backoff

IDLE_S = 30.0
"""Pause while nothing is set aside: another recorder may have set something aside and ended."""
FAILURE_BACKOFF = Backoff(base_s=1, cap_s=IDLE_S)

log = structlog.get_logger()


class SetAsideOutcomes(Protocol):
    """The part of `Database.outcomes` that the retrier uses."""

    def claim_set_aside(self) -> SetAsideClaim:
        """Claim outcomes of an organization whose next try is due."""

    def apply_set_aside(self, claimed: ClaimedOutcomes) -> Retried:
        """Try claimed outcomes again."""


class SetAsideRetrier:
    """Retries what is set aside when it is due; several may run, also in several processes."""

    def __init__(
        self, outbox: Outbox, outcomes: SetAsideOutcomes, stopping: threading.Event
    ) -> None:
        self._outbox = outbox
        self._outcomes = outcomes
        self._stopping = stopping
        self._woken = threading.Event()
        self._known: set[str] = set()
        self._reported: set[str] = set()

    def wake(self) -> None:
        """Look again at once: an organization was set aside, or the process stops."""
        self._woken.set()

    def run(self) -> None:
        """Retry until the process stops.

        Raises:
            redis.RedisError: any error but a transient one.
        """
        failures = 0
        pause_s = 0.0
        while not self._stopping.is_set():
            self._woken.wait(pause_s)
            self._woken.clear()
            try:
                pause_s = self.step()
                failures = 0
            except DatabaseError as error:
                failures += 1
                pause_s = FAILURE_BACKOFF.after(failures)
                log.warning("set_aside.retry_failed", error=str(error), pause_s=round(pause_s, 2))
            except redis.RedisError as error:
                if not is_transient(error):
                    raise
                pause_s = FAILURE_BACKOFF.after(1)
                log.warning("redis.unavailable", error=str(error))

    def step(self) -> float:
        """Retry the organization that is due, if there is one; return the seconds to wait."""
        claim = self._outcomes.claim_set_aside()
        self._report(claim.set_aside)
        if claim.claimed:
            retried = self._outcomes.apply_set_aside(claim.claimed)
            self._outbox.publish_changes(retried.changed)
            self._report_retried(claim.claimed.owner, retried)
            return 0.0
        return IDLE_S if claim.due_in_s is None else min(IDLE_S, claim.due_in_s)

    def _report(self, set_aside: Sequence[SetAside]) -> None:
        """Publish what is set aside; log who is no longer, and reasons that concern several."""
        owners = {each.owner for each in set_aside}
        for owner in sorted(self._known - owners):
            tell("organization.resumed", organization=owner)
        self._known = owners
        self._outbox.report_set_aside(set_aside)
        common = find_common_reasons(set_aside)
        for reason, advice in common.items():
            if reason not in self._reported:
                log.error("supabase.unusable", error=reason, action=advice)
        self._reported = set(common)

    def _report_retried(self, owner: str, retried: Retried) -> None:
        for reason in retried.refused:
            log.warning("outcome.refused", organization=owner, error=reason)
        log.info(
            "organization.retried", organization=owner, recorded=retried.applied, left=retried.left
        )


def find_common_reasons(set_aside: Sequence[SetAside]) -> dict[str, str | None]:
    """Return the reasons that set several organizations aside, with the advice for each.

    Such a reason concerns the schema rather than an organization. Locks are no such reason.
    """
    by_reason: dict[str, list[SetAside]] = {}
    for each in set_aside:
        by_reason.setdefault(each.why, []).append(each)
    return {
        reason: advise(several[0].code)
        for reason, several in by_reason.items()
        if len(several) > 1 and several[0].code not in LOCKED
    }


LOCKED = frozenset({"55P03", "40P01", "40001"})
"""SQLSTATEs of rows that another transaction has locked."""


def report_set_aside(each: SetAside) -> None:
    """Tell that an organization was set aside."""
    tell(
        "organization.set_aside",
        organization=each.owner,
        error=each.why,
        until=each.retry_at.isoformat(timespec="seconds"),
        action=advise(each.code),
    )

"""Apply logged webhooks again, after a bug fix or where rows were lost.

Outcomes state facts, so that applying them twice has no further effect. The log holds neither
files nor pairing codes: a replay restores no file (a row made anew has its name, and no link) and
shows no pairing code. Texts that the log cut short are skipped.

What an earlier version did not understand is filed once this version does, and its entry in the
log then says what it became.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from shared import webhooks
from shared.database.models import Applied, LoggedEvent
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.outcomes import (
    BECAME_PROOF,
    UNRECOGNIZED_RESULTS,
    EditOutcome,
    LogOutcome,
    MessageOutcome,
    Outcome,
    SessionOutcome,
)
from shared.webhooks.redact import SHORTENED

BATCH = 200

log = structlog.get_logger()
Apply = Callable[[Sequence[dict[str, Any]]], Applied]


@dataclass
class ReplayCount:
    """The events of a replay, and what happened to their outcomes.

    skipped: the log does not hold enough of them. refused: by the database. set_aside: they wait in
    Supabase, and the recorder retries them. unrecognized: events that are not understood yet.
    """

    events: int = 0
    applied: int = 0
    skipped: int = 0
    refused: int = 0
    set_aside: int = 0
    unrecognized: int = 0


def replay_events(events: Iterable[LoggedEvent], apply: Apply) -> ReplayCount:
    """Apply logged webhooks again (`WebhookLog.iterate`, `Outcomes.apply`). Idempotent.

    Raises:
        DatabaseUnavailableError: what was applied before stays; start again.
    """
    count = ReplayCount()
    rows = _build_rows(events, count)
    while batch := list(islice(rows, BATCH)):
        _apply(batch, apply, count)
    return count


def _build_rows(events: Iterable[LoggedEvent], count: ReplayCount) -> Iterator[dict[str, Any]]:
    """Yield the outcomes of the events, as the outbox writes them."""
    for event in events:
        count.events += 1
        outcomes = _build_outcomes(event)
        if outcomes is None:
            count.unrecognized += 1
            continue
        replayable = [reduced for each in outcomes if (reduced := _reduce_outcome(each))]
        count.skipped += len(outcomes) - len(replayable)
        for outcome in replayable:
            yield outcome.model_dump(mode="json", exclude_none=True)


def _build_outcomes(logged: LoggedEvent) -> list[Outcome] | None:
    """Return the outcomes of an event, or None where it is not understood.

    The log entry is among them where the event was not understood when it came.
    """
    if logged.became == BECAME_PROOF:  # the message that the echo proved is settled already
        return []
    payload = webhooks.parse_payload(logged.payload)
    event = webhooks.classify_event(payload, logged.account, logged.at)
    *outcomes, entry = webhooks.build_outcomes(event, logged.id)
    if logged.became not in UNRECOGNIZED_RESULTS:
        return outcomes
    if not isinstance(entry, LogOutcome) or entry.became in UNRECOGNIZED_RESULTS:
        return None
    if any(_reduce_outcome(outcome) is None for outcome in outcomes):
        return outcomes  # the entry stays as it is: not all of it was filed
    return [*outcomes, entry]


def _reduce_outcome(outcome: Outcome) -> Outcome | None:
    """Return an outcome without what the log does not hold, or None where it would be wrong."""
    if isinstance(outcome, MessageOutcome | EditOutcome) and outcome.text.endswith(SHORTENED):
        return None
    if isinstance(outcome, SessionOutcome) and outcome.status == "qr_issued":
        return None
    if isinstance(outcome, MessageOutcome) and outcome.media_state == "pending":
        return outcome.model_copy(update={"media_state": "none"})  # the row's own file stays
    return outcome


def _apply(batch: list[dict[str, Any]], apply: Apply, count: ReplayCount) -> None:
    """Apply a batch. Where the database refuses it as a whole, apply its rows singly."""
    try:
        applied = apply(batch)
    except DatabaseUnavailableError:
        raise
    except DatabaseError as error:
        if len(batch) == 1:
            _report_refused(batch[0], str(error), count)
            return
        for row in batch:
            _apply([row], apply, count)
        return
    for refused in applied.refused:
        _report_refused(batch[refused.row], refused.why, count)
    count.set_aside += applied.waiting
    count.applied += len(batch) - len(applied.refused) - applied.waiting


def _report_refused(row: dict[str, Any], why: str, count: ReplayCount) -> None:
    log.warning("outcome.refused", row=row.get("type"), id=row.get("id"), error=why)
    count.refused += 1

"""Applying webhooks once more, from the raw log: after a mistake of ours, or where rows were lost.

What was applied already is not applied twice: every outcome says what is so, and not what to do. The raw log keeps
neither files nor pairing codes, so a replay brings back no file (a row made anew has its name, and no link) and shows
no code. Texts that the log has shortened are left alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from shared import webhooks
from shared.database.models import Applied, LoggedEvent
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import WebhookEvent
from shared.outcomes import EditOutcome, LogOutcome, MessageOutcome, Outcome, SessionOutcome
from workers.webhook.handler import BECAME_PROOF

BATCH = 200
SHORTENED = "characters omitted]"

log = structlog.get_logger()
Apply = Callable[[Sequence[dict[str, Any]]], Applied]


@dataclass
class ReplayCount:
    """How many webhooks were gone through, and what became of their outcomes.

    `left`: the log has not enough of them. `busy`: somebody's lock was in the way, replay them again.
    """

    events: int = 0
    applied: int = 0
    left: int = 0
    refused: int = 0
    busy: int = 0


def replay_events(events: Iterable[LoggedEvent], apply: Apply) -> ReplayCount:
    """Apply logged webhooks once more (`WebhookLog.iterate`, `Outcomes.apply`). Twice is as good as once.

    Raises:
        DatabaseUnavailableError: what was applied until then stays; begin again.
    """
    count = ReplayCount()
    rows = _rows(events, count)
    while batch := list(islice(rows, BATCH)):
        _apply(batch, apply, count)
    return count


def _rows(events: Iterable[LoggedEvent], count: ReplayCount) -> Iterator[dict[str, Any]]:
    for event in events:
        count.events += 1
        for outcome in _outcomes(event):
            if fit := _fit(outcome):
                yield fit.model_dump(mode="json", exclude_none=True)  # as in the outbox
            else:
                count.left += 1


def _outcomes(logged: LoggedEvent) -> list[Outcome]:
    if (
        logged.became == BECAME_PROOF
    ):  # an echo that proved a message of ours: that one is sent since then
        return []
    arrival = webhooks.classify_event(logged.payload, logged.account, logged.at)
    event = WebhookEvent(
        id=logged.id,
        accepted_at=logged.at,
        account=logged.account,
        peer=arrival.conversation,
        payload=logged.payload,
    )
    return [
        outcome
        for outcome in webhooks.build_outcomes(arrival, event)
        if not isinstance(outcome, LogOutcome)
    ]


def _fit(outcome: Outcome) -> Outcome | None:
    """Return an outcome without what the log does not have, or None where it would be a false one."""
    if isinstance(outcome, MessageOutcome | EditOutcome) and outcome.text.endswith(SHORTENED):
        return None
    if isinstance(outcome, SessionOutcome) and outcome.status == "qr_issued":
        return None
    if isinstance(outcome, MessageOutcome) and outcome.media_state == "pending":
        return outcome.model_copy(
            update={"media_state": "none"}
        )  # what the row knows of its file stays
    return outcome


def _apply(batch: list[dict[str, Any]], apply: Apply, count: ReplayCount) -> None:
    """Apply a batch, or what of it Supabase takes."""
    try:
        applied = apply(batch)
    except DatabaseUnavailableError:
        raise
    except DatabaseError as error:
        if len(batch) == 1:
            _refused(batch[0], str(error), count)
            return
        for row in batch:
            _apply([row], apply, count)
        return
    for refused in applied.refused:
        _refused(batch[refused.row], refused.why, count)
    count.busy += len(applied.busy)
    count.applied += len(batch) - len(applied.refused) - len(applied.busy)


def _refused(row: dict[str, Any], why: str, count: ReplayCount) -> None:
    log.warning("outcome.refused", row=row.get("type"), id=row.get("id"), error=why)
    count.refused += 1

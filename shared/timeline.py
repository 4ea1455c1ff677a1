"""The timeline of a message: its events in the order in which they can have happened.

Our own times are exact to the millisecond. The platform's are whole seconds by its own clock: an
ack at 12:00:05 may follow what we did at 12:00:05.7, and a report may come late. So a report stands
after the attempt that it can be about, and acks stand in their order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.outcomes import MessageStatus
from shared.stored_times import ClampedTime, StoredTime

SECOND = timedelta(seconds=1)
RACE = timedelta(seconds=2)
"""How long before we know the end of an attempt a report about it may come."""
ENDINGS = frozenset({"sent", "unknown", "failed"})
RANK = {"sent": 0, "failed": 1, "delivered": 2, "read": 3, "deleted": 9}
ACKS = ("sent", "failed", "delivered", "read")


class HistoryRow(BaseModel):
    """A row of wpp_message_history, as the migrations describe it."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: int
    event: str
    status: MessageStatus | None
    source: Literal["own", "platform"]
    at: ClampedTime
    arrived_at: ClampedTime
    started_at: StoredTime = None
    attempt: int | None = None
    code: str | None = None
    error: str | None = None
    actor: str = ""
    detail: str | None = None


class TimelineEvent(BaseModel):
    """An event in the life of a message."""

    event: str = Field(
        description="`accepted`, `attempt` (a worker calls the platform), `postponed` (that "
        "attempt did not send it), `sent`, `delivered`, `read`, `failed`, `unknown`, `deleted`, "
        "`cancelled`, `received`, `edited`, `replaced` (an edit deleted the former message at the "
        "platform), `reaction`, `reaction_removed`; more may come.",
        examples=["sent"],
    )
    at: datetime = Field(description="When it happened, as exactly as that is known; never falls.")
    source: Literal["own", "platform"] = Field(
        description="`own`: this server did it. `platform`: the platform reported it."
    )
    status: MessageStatus | Literal["cancelled"] | None = Field(
        default=None, description="The status that the message reached, if it reached one."
    )
    reported_at: datetime | None = Field(
        default=None, description="The platform's own time, in whole seconds by its clock."
    )
    attempt: int | None = Field(default=None, description="The number of the attempt, from 1.")
    error: str | None = Field(default=None, description="Why it failed or waits, as a sentence.")
    code: str | None = Field(default=None, description="Why it failed, as a name.")
    by: str | None = Field(default=None, description="Who reacted: a phone, or `self`.")
    emoji: str | None = None


@dataclass
class _Step:
    """Something of our own, and what the platform reported after it."""

    own: HistoryRow | None = None
    reports: list[HistoryRow] = field(default_factory=list)


def build_timeline(rows: Iterable[HistoryRow]) -> list[TimelineEvent]:
    """Return the timeline of a message from its rows, which may have any order.

    That the platform took a message is told once: its own report of it adds its time.
    """
    events: list[TimelineEvent] = []
    taken: int | None = None
    for row in order_history(rows):
        if row.source == "own":
            taken = len(events) + bool(row.started_at) if row.status == "sent" else None
        elif row.event == "sent" and taken is not None:
            known = events[taken]
            reported = known.reported_at or row.at
            events[taken] = known.model_copy(update={"reported_at": reported})
            continue
        elif row.event == "sent":
            taken = len(events)
        latest = events[-1].at if events else row.at
        if row.started_at:
            began = max(row.started_at, latest) if events else row.started_at
            attempt = {"event": "attempt", "at": began, "attempt": row.attempt, "source": "own"}
            events.append(TimelineEvent.model_validate(attempt))
            latest = began
        events.append(_describe(row, _date(row, latest)))
    return events


def order_history(rows: Iterable[HistoryRow]) -> list[HistoryRow]:
    """Return rows in the order in which they can have happened."""
    rows = list(rows)
    own = sorted((row for row in rows if row.source == "own"), key=lambda row: (row.at, row.id))
    steps = [_Step(), *(_Step(row) for row in own)]
    moments = _find_moments(rows)
    for row in rows:
        if row.source == "platform":
            steps[_find_step(row, own, moments[row.id])].reports.append(row)
    ordered: list[HistoryRow] = []
    for step in steps:
        ordered += [step.own] if step.own else []
        ordered += sorted(
            step.reports, key=lambda row: (moments[row.id], RANK.get(row.event, 5), row.id)
        )
    deleted = [row for row in ordered if row.status == "deleted"]
    return [row for row in ordered if row.status != "deleted"] + deleted[:1]  # it is final


def _find_moments(rows: Sequence[HistoryRow]) -> dict[int, datetime]:
    """Return by row id when a report counts as made: a lower ack not after a higher one.

    An ack without a status is about a text that an edit replaced: it says nothing about later ones.
    """
    moments = {row.id: row.at for row in rows}
    reports = [row for row in rows if row.source == "platform" and row.event in ACKS and row.status]
    earliest: datetime | None = None
    for event in reversed(ACKS):
        same = [row for row in reports if row.event == event]
        for row in same:
            moments[row.id] = min(row.at, earliest) if earliest else row.at
        earliest = min((moments[row.id] for row in same), default=earliest)
    return moments


def _find_step(report: HistoryRow, own: Sequence[HistoryRow], moment: datetime) -> int:
    """Return after which of our steps a report stands; 0 is before all of them.

    After all that we did before it can have been made, and after the end of the attempt that it is
    about: the last end before it came. A report without a status is not about the text of an edit.
    """
    latest = min(_end_of_second(moment), max(report.arrived_at, moment))
    index = sum(row.at <= latest for row in own)
    ends = [
        number
        for number, row in enumerate(own, 1)
        if row.status in ENDINGS and (report.status or row.event != "edited")
    ]
    known = [number for number in ends if own[number - 1].at <= report.arrived_at + RACE]
    about = known[-1] if known else (ends[0] if ends else 0)
    following = next((number for number in ends if number > about), None)
    if about and following and _is_proven(own[about - 1], own[following - 1]):
        about = following
    return max(index, about)


def _is_proven(row: HistoryRow, following: HistoryRow) -> bool:
    """Return whether a message in doubt was settled as sent, without another attempt.

    The reports are why: they are told after that.
    """
    return row.status == "unknown" and following.status == "sent" and following.attempt is None


def _end_of_second(time: datetime) -> datetime:
    """Return the last moment that a time means: whole seconds mean all of their second."""
    return time if time.microsecond else time + SECOND - timedelta(milliseconds=1)


def _date(row: HistoryRow, latest: datetime) -> datetime:
    """Return when an event happened, which is not before `latest`.

    A report of the same second came after it; one that the platform dates earlier is dated by its
    arrival.
    """
    if row.at >= latest or row.source == "own":
        return max(row.at, latest)
    return latest if _end_of_second(row.at) >= latest else max(row.arrived_at, latest)


def _describe(row: HistoryRow, at: datetime) -> TimelineEvent:
    renamed = {"queued": "accepted", "attempt": "postponed"}
    is_report = row.source == "platform"
    is_cancelled = row.code == "cancelled"  # its row is `failed`, which pages of the CRM know
    return TimelineEvent(
        event="cancelled" if is_cancelled else renamed.get(row.event, row.event),
        at=at,
        source=row.source,
        status="cancelled" if is_cancelled else row.status,
        reported_at=row.at if is_report else None,
        attempt=row.attempt,
        error=row.error,
        code=row.code,
        by=row.actor or None,
        emoji=row.detail if row.event == "reaction" else None,
    )

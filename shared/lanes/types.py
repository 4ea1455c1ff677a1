"""What goes into lanes and comes out of them."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from pydantic import BaseModel

State = Literal["scheduled", "queued", "claimed", "sent", "failed", "cancelled", "unknown", "done"]
LaneLevel = Literal["high", "normal", "low"]
LEVELS: tuple[LaneLevel, ...] = ("high", "normal", "low")


@dataclass(frozen=True)
class Append:
    """An event on its way into its lane."""

    id: UUID
    queue: str
    lane: str
    tenant: str
    body: str
    gates: tuple[str, ...] = ()
    delay_s: float = 0
    max_age_s: float | None = None
    """For how long it may be tried; at most `WPP_MAX_AGE_S`."""
    outcomes: tuple[BaseModel, ...] = ()
    """They enter the outbox in the same atomic step."""
    rows: tuple[str, ...] = ()
    """Further outcomes, as JSON."""
    fingerprint: str = ""
    """Requests with the same id and fingerprint are the same request."""
    bytes_beside: int = 0
    """Bytes that Redis stores beside the event, for it: they count as waiting with it."""
    send_at: datetime | None = None
    """It enters its lane then, as the last; what has passed is now."""
    level: LaneLevel = "normal"
    """Which ready lanes of its tenant go first: those with an event of the highest level."""
    version: int = 1
    """Workers that do not know it leave the event to those that do."""


@dataclass(frozen=True)
class Accepted:
    """The reply to an append: a new event, or the one that has this id already."""

    id: UUID
    new: bool
    state: State


@dataclass(frozen=True)
class Claim:
    """The right to work on one event until its lease ends. Times of Redis, in ms since 1970.

    `accepted_ms` of a scheduled event is when it was due.
    """

    queue: str
    id: UUID
    lane: str
    fence: str
    attempts: int
    accepted_ms: int
    expires_ms: int
    now_ms: int
    body: bytes
    reason: str
    """Why it was postponed the last time; empty if it was not."""
    unexpected_errors: int = 0
    """How often its handler raised an unexpected error."""
    resends: int = 0
    """How often it went out once more although its effect was unknown."""
    lost_leases: int = 0
    """How often in a row its worker stopped, or took longer than the lease."""
    file_task: str = ""
    """The platform's id of the file that went out before its caption; "-" without an id."""
    until_s: float = math.inf
    """When the lease ends at the earliest, by this process' `time.monotonic`."""
    following: tuple["Claim", ...] = ()
    """Events behind it in its lane that may be handled with it, in order (`Settled.run`)."""

    @property
    def expired(self) -> bool:
        return self.now_ms >= self.expires_ms

    @property
    def left_s(self) -> float:
        """Return how long the lease certainly lasts; nothing of the event may begin later."""
        return self.until_s - time.monotonic()


@dataclass(frozen=True)
class Settled:
    """The end of an event: its final state, outcomes for the outbox, and events that follow it."""

    state: State
    outcomes: Sequence[BaseModel] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """They are written into the event's record."""
    follow: Sequence[Append] = ()
    run: Sequence[tuple[Claim, "Settled"]] = ()
    """The ends of the first of `Claim.following`: they count one after the other, behind this."""


@dataclass(frozen=True)
class Postponed:
    """The event stays at the head of its lane, and the lane waits."""

    delay_s: float
    reason: str
    outcomes: Sequence[BaseModel] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    unstarted: bool = False
    """Its handler has not begun: this was no attempt."""


ClaimResult = Settled | Postponed

CancelResult = Literal[
    "ok", "same", "missing", "resent", "begun", "claimed", "sent", "failed", "unknown", "done"
]
"""What became of a cancelled event: `ok`, or `same` when it was cancelled before. Any other answer
says why it was not: its state; `resent`: it goes out once more, and may have gone out; `begun`: a
part of it went out."""


@dataclass
class ClaimSequence:
    """Numbers the requests for claims of a caller, so that a repeated request gets the same claims.

    A caller sends its next request after the reply to the last.
    """

    name: str = field(default_factory=lambda: uuid4().hex)
    number: int = 0


@dataclass(frozen=True)
class Exchange:
    """The reply to one round trip: which results counted, new claims, whether more may be ready."""

    counted: list[bool]
    claims: list[Claim]
    more: bool
    run: list[int] = field(default_factory=list)
    """For each result how many of `Settled.run` counted with it."""


@dataclass(frozen=True)
class LostEvent:
    """An event of which Redis has lost the record, or dropped the content."""

    queue: str
    id: UUID
    lane: str
    tenant: str
    why: Literal["record missing", "too many unknown"]
    raw: str
    """How Redis lists it."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found: workable events, ms until the next lane is due, claims taken over."""

    ready: int
    next_due_ms: int | None
    expired_claims: list[Claim]
    lost: list[LostEvent]
    """They are listed until `Lanes.tell_lost`."""

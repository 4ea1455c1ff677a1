"""What goes into lanes and comes out of them."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid4

from pydantic import BaseModel

State = Literal["queued", "claimed", "sent", "failed", "unknown", "done"]


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
    fingerprint: str = ""
    """Requests with the same id and fingerprint are the same request."""
    bytes_beside: int = 0
    """Bytes that Redis stores beside the event, for it: they count as waiting with it."""


@dataclass(frozen=True)
class Accepted:
    """The reply to an append: a new event, or the one that has this id already."""

    id: UUID
    new: bool
    state: State


@dataclass(frozen=True)
class Claim:
    """The right to work on one event until its lease ends. Times of Redis, in ms since 1970."""

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
    until_s: float = math.inf
    """When the lease ends at the earliest, by this process' `time.monotonic`."""

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


@dataclass
class ClaimSequence:
    """Numbers the requests for claims of one caller: a request whose reply was lost is repeated.

    One request of a sequence is under way at a time.
    """

    name: str = field(default_factory=lambda: uuid4().hex)
    number: int = 0


@dataclass(frozen=True)
class Exchange:
    """The reply to one round trip: which results counted, new claims, whether more may be ready."""

    counted: list[bool]
    claims: list[Claim]
    more: bool


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

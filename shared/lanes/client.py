"""Lanes: events in strict order, one holder at a time, tenants in turn.

A lane holds the events of one conversation (or one organization's provisioning) in the order in which they were
accepted. A worker claims the event at the head of the lane whose turn it is, under a lease with a fence; it concludes
the claim with a `Verdict` (settled, or postponed) and is handed its next claim in the same round trip. Outcomes of a
settled event enter the outbox in that same atomic step. The protocol is `lanes.lua`, where the keys are described.
"""

import hashlib
import json
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal
from uuid import UUID, uuid4

import redis
from pydantic import BaseModel

from shared.errors import IdempotencyConflictError, OverloadedError
from shared.events import Event, QueueName
from shared.outcomes import Outcome
from shared.settings import EngineSettings

PREFIX = "wpp:"
SCRIPT = files("shared.lanes").joinpath("lanes.lua").read_text()
TAKEOVER_S = 5.0
"""How long a clock has to say what becomes of what it took over: should it die first, the next one takes over soon."""
LOOKS = 64
"""Lanes that one claim looks at, should all of them have to wait: Redis does nothing else meanwhile."""
LATE_CALL_S = 0.2
"""A call may come until the very end of a stay: whoever waits for it waits for longer."""
FULL = {
    "outbox": "too much is waiting to be written to Supabase; try again later",
    "waiting": "too much of yours is waiting already; try again later",
    "memory": "there is no room for more; try again later",
}
State = Literal["queued", "claimed", "sent", "failed", "unknown", "done"]


@dataclass(frozen=True)
class Accepted:
    """What became of an append: a new event, or one that this key already named."""

    id: UUID
    new: bool
    state: State


@dataclass(frozen=True)
class Claim:
    """The right to work on one event until its lease ends. Times are Redis' own, in ms since 1970."""

    kind: QueueName
    id: UUID
    lane: str
    fence: str
    attempts: int
    accepted_ms: int
    expires_ms: int
    now_ms: int
    body: bytes
    reason: str
    """Why it was postponed the last time, if it was."""
    unexpected_errors: int = 0
    """How often its handler raised what nobody expected."""
    resends: int = 0
    """How often it went out once more although nobody knew whether it had."""
    until_s: float = math.inf
    """When the lease ends at the earliest, by this process' `time.monotonic`."""

    @property
    def expired(self) -> bool:
        return self.now_ms >= self.expires_ms

    @property
    def left_s(self) -> float:
        """How long it is ours for certain; nothing to do with it may begin later."""
        return self.until_s - time.monotonic()


@dataclass(frozen=True)
class Append:
    """An event on its way into its lane."""

    event: Event
    kind: QueueName
    lane: str
    tenant: str
    gates: tuple[str, ...] = ()
    delay_s: float = 0
    max_age_s: float | None = None
    """How long it may be tried; never longer than any other event."""
    outcomes: tuple[Outcome, ...] = ()
    fingerprint: str | None = None
    """What must be equal for the same id to be the same request. Default: the event without id and time."""


@dataclass(frozen=True)
class Settled:
    """The end of an event: what became of it, and what Supabase is told."""

    state: State
    outcomes: Sequence[Outcome] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    follow: Sequence[Append] = ()


@dataclass(frozen=True)
class Postponed:
    """Not now: the event stays at the head of its lane, and the lane waits."""

    delay_s: float
    reason: str
    outcomes: Sequence[Outcome] = ()
    fields: Mapping[str, str] = field(default_factory=dict)


ClaimResult = Settled | Postponed


@dataclass
class Slot:
    """One worker thread's place: it numbers its claims, so that the reply to one may be lost without harm."""

    name: str = field(default_factory=lambda: uuid4().hex)
    seq: int = 0


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found: how many could work now, ms until the next lane is due, claims that were given up."""

    ready: int
    next_due_ms: int | None
    given_up: list[Claim]


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return a hash that is equal for equal requests: SHA-256 of the canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def dump(model: BaseModel) -> str:
    return model.model_dump_json(exclude_none=True)


class Lanes:
    def __init__(
        self, client: "redis.Redis", settings: EngineSettings, prefix: str = PREFIX
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.room = settings.wpp_max_inflight_per_tenant
        """How many events of one tenant and kind are worked on at once."""
        self.looks = LOOKS
        self._settings = settings
        self._script = client.register_script(SCRIPT)

    def append_on(self, pipe: Any, item: Append) -> None:
        """Add the append of `item` to a pipeline, sync or async alike; `accepted` reads its reply.

        The pipeline's execution raises redis' NoScriptError after a restart of Redis: `load`, then do it again.
        """
        pipe.evalsha(self._script.sha, 1, self.prefix, *self._arguments(item))

    def append_all_on(self, pipe: Any, items: Sequence[Append]) -> None:
        """Add the appends of several events in one atomic step; its reply holds one reply for `accepted` each.

        One command for many: most of what an append costs is its way there and back.
        """
        arguments = json.dumps([self._append(item) for item in items], separators=(",", ":"))
        pipe.evalsha(self._script.sha, 1, self.prefix, "append_all", arguments)

    @staticmethod
    def load(client: Any) -> Any:
        """Make the script known to Redis; awaitable when `client` is an async one."""
        return client.script_load(SCRIPT)

    def append(self, item: Append) -> Accepted:
        """Put an event at the end of its lane, once.

        Raises:
            IdempotencyConflictError: the id stands for a different request.
            OverloadedError: too many outcomes wait for Supabase, or too many events of this tenant and kind for their
                turn, or Redis has no memory left.
            redis.RedisError: Redis did not confirm; asking again with the same id is safe.
        """
        return self.accepted(item, self._script(keys=[self.prefix], args=self._arguments(item)))

    @staticmethod
    def accepted(item: Append, reply: Sequence[bytes]) -> Accepted:
        """Read the script's reply to an append; raises as `append` does."""
        word = reply[0].decode()
        if word == "conflict":
            raise IdempotencyConflictError
        if word == "full":
            raise OverloadedError(FULL[reply[1].decode()])
        return Accepted(id=item.event.id, new=word == "new", state=reply[1].decode())  # type: ignore[arg-type]

    def claim(self, kind: QueueName, slot: Slot, stay_s: float = 0) -> Claim | None:
        """Claim the next ready event of `kind`, or None when none is ready: then `called` tells of the next one.

        With `stay_s`, the next lane that becomes ready within that time is this thread's to come for.
        """
        asked_s = time.monotonic()
        wanted = self._wanted(kind, slot, stay_s)
        return self._take(wanted, slot, self._call("claim", wanted), asked_s)

    def called(self, slot: Slot, stay_s: float) -> bool:
        """Block until a lane is ready for whoever was told that none was; False when none became so in `stay_s`."""
        return (
            self.client.blpop([f"{self.prefix}call:{slot.name}"], timeout=stay_s + LATE_CALL_S)
            is not None
        )

    def conclude(
        self, claim: Claim, verdict: ClaimResult, slot: Slot | None = None, stay_s: float = 0
    ) -> tuple[bool, Claim | None]:
        """End a claim; with a `slot`, take the next one in the same round trip.

        Returns whether the verdict counted (not when somebody else has concluded or claimed the event since), and the
        next claim, as `claim` does.
        """
        wanted = self._wanted(claim.kind, slot, stay_s) if slot else {}
        asked_s = time.monotonic()
        reply = self._call("conclude", wanted | self._verdict(claim, verdict))
        return reply[0] == b"ok", self._take(wanted, slot, reply[1], asked_s) if slot else None

    def extend(self, claim: Claim) -> bool:
        """Renew the lease from now on. False: it is no longer ours, stop working on it."""
        arguments = {
            "kind": claim.kind,
            "lane": claim.lane,
            "fence": claim.fence,
            "lease": self._lease_ms,
        }
        return bool(self._call("extend", arguments)[0] == b"ok")

    def sweep(self, kind: QueueName, count: int = 200) -> SweepResult:
        """Wake lanes that are due, take over claims whose lease has ended. Any number of sweepers may run."""
        arguments = {
            "kind": kind,
            "count": count,
            "lease": int(TAKEOVER_S * 1000),
            "room": self.room,
        }
        ready, due, taken = self._call("sweep", arguments)
        given_up = [self._read(kind, reply) for reply in taken]
        return SweepResult(
            ready=ready, next_due_ms=None if due == b"-1" else max(0, int(due)), given_up=given_up
        )

    def resolve(self, event_id: UUID, settled: Settled) -> bool:
        """Settle an event whose effect was unknown; state "queued" sends it once more, as the last of its lane."""
        arguments = {
            "id": str(event_id),
            "state": settled.state,
            "fields": dict(settled.fields),
            "outcomes": [dump(outcome) for outcome in settled.outcomes],
            "ttl": self._settings.wpp_record_ttl_s,
            "max_age": int(self._settings.wpp_max_age_s * 1000),
        }
        return bool(self._call("resolve", arguments)[0] == b"ok")

    def replay(self, item: Append) -> bool:
        """Put a failed event back into its lane, as the last. False: it is on its way, or done, already.

        Raises:
            OverloadedError: too many outcomes wait for Supabase.
        """
        return self.accepted(item, self._call("replay", self._append(item))).new

    def unknown(self, lane: str) -> list[UUID]:
        """Return the events of a lane whose effect nobody knows."""
        found: Any = self.client.smembers(f"{self.prefix}unknown:{lane}")
        return [UUID(event_id.decode()) for event_id in found]

    def close_gate(self, gate: str, seconds: float, reason: str) -> None:
        """Hold every lane that names `gate`, for at most `seconds`: their events wait in order."""
        self.client.set(f"{self.prefix}gate:{gate}", reason, px=int(seconds * 1000))

    def open_gate(self, gate: str) -> int:
        """Let the lanes held at `gate` go on; return how many there were."""
        total = 0
        while count := int(self._call("open_gate", {"gate": gate})):
            total += count
        return total

    def _arguments(self, item: Append) -> list[str]:
        return ["append", json.dumps(self._append(item), separators=(",", ":"))]

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.wpp_lease_s * 1000)

    def _call(self, command: str, arguments: Mapping[str, Any]) -> Any:
        return self._script(
            keys=[self.prefix], args=[command, json.dumps(arguments, separators=(",", ":"))]
        )

    def _append(self, item: Append) -> dict[str, Any]:
        return {
            "id": str(item.event.id),
            "kind": item.kind,
            "lane": item.lane,
            "tenant": item.tenant,
            "gates": list(item.gates),
            "delay": int(item.delay_s * 1000),
            "max_age": int(min(item.max_age_s or math.inf, self._settings.wpp_max_age_s) * 1000),
            "limit": self._settings.wpp_outbox_limit,
            "most": self._settings.wpp_waiting_limit,
            "print": item.fingerprint
            or fingerprint(item.event.model_dump(mode="json", exclude={"id", "accepted_at"})),
            "body": dump(item.event),
            "outcomes": [dump(outcome) for outcome in item.outcomes],
        }

    def _wanted(self, kind: QueueName, slot: Slot, stay_s: float = 0) -> dict[str, Any]:
        return ({"stay": int(stay_s * 1000)} if stay_s else {}) | {
            "kind": kind,
            "slot": slot.name,
            "seq": str(slot.seq + 1),
            "lease": self._lease_ms,
            "room": self.room,
            "looks": self.looks,
            # Claims stop when Supabase is far behind: their results would be seen by nobody.
            "limit": self._settings.wpp_outbox_limit,
        }

    def _take(
        self, wanted: Mapping[str, Any], slot: Slot, reply: Sequence[Any], asked_s: float
    ) -> Claim | None:
        while (
            reply[0] == b"again"
        ):  # many lanes that have to wait stood in front, and are out of the way now
            asked_s = time.monotonic()
            reply = self._call("claim", wanted)
        slot.seq += 1
        return (
            self._read(wanted["kind"], reply, asked_s + self._settings.wpp_lease_s)
            if reply[0] == b"claim"
            else None
        )

    @staticmethod
    def _read(kind: QueueName, reply: Sequence[bytes], until_s: float = math.inf) -> Claim:
        (
            _,
            event_id,
            lane,
            fence,
            attempts,
            accepted,
            expires,
            now,
            body,
            reason,
            unexpected_errors,
            resends,
        ) = reply
        return Claim(
            kind=kind,
            id=UUID(event_id.decode()),
            lane=lane.decode(),
            fence=fence.decode(),
            attempts=int(attempts),
            accepted_ms=int(accepted),
            expires_ms=int(expires),
            now_ms=int(now),
            body=body,
            reason=reason.decode(),
            unexpected_errors=int(unexpected_errors),
            resends=int(resends),
            until_s=until_s,
        )

    def _verdict(self, claim: Claim, verdict: ClaimResult) -> dict[str, Any]:
        arguments: dict[str, Any] = {"id": str(claim.id), "lane": claim.lane, "fence": claim.fence}
        if isinstance(verdict, Postponed):
            return arguments | {
                "state": "queued",
                "delay": int(verdict.delay_s * 1000),
                "fields": {"reason": verdict.reason, **verdict.fields},
                "outcomes": [dump(outcome) for outcome in verdict.outcomes],
            }
        return arguments | {
            "state": verdict.state,
            "fields": dict(verdict.fields),
            "outcomes": [dump(outcome) for outcome in verdict.outcomes],
            "follow": [self._append(item) for item in verdict.follow],
            "ttl": self._settings.wpp_record_ttl_s,
        }


class SlotOfThread(threading.local):
    """Each thread's own slot, kept between claims."""

    def __init__(self) -> None:
        self.slot = Slot()


def total_waiting(
    client: "redis.Redis", kinds: Iterable[QueueName], prefix: str = PREFIX
) -> dict[str, dict[str, int]]:
    """Return events in lanes as {kind: {tenant: count}}: for metrics and operators."""
    totals: dict[str, dict[str, int]] = {}
    for kind in kinds:
        waiting: Any = client.hgetall(f"{prefix}waiting:{kind}")
        totals[kind] = {tenant.decode(): int(count) for tenant, count in waiting.items()}
    return totals

"""Lanes: events in strict order, one holder at a time, tenants in turn.

A lane holds the events of one conversation (or one organization's provisioning) in the order of
their acceptance. A worker claims the event at the head of the lane whose turn it is, under a lease
with a fencing token. It concludes the claim with a `ClaimResult`, and is handed its next claim in
the same round trip. Outcomes of a settled event enter the outbox in that same atomic step. In the
queues of `Lanes.runs`, a claim comes with the next events of its lane, and may end them, too. The
protocol is in `lua/`; `places.lua` describes the keys.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import redis
import redis.asyncio

from shared.events import NEWEST_VERSION
from shared.lanes import wire
from shared.lanes.acceptance import read_acceptance
from shared.lanes.scripts import APPEND, EXCHANGE, OPERATE
from shared.lanes.types import (
    Accepted,
    Append,
    CancelResult,
    Claim,
    ClaimResult,
    ClaimSequence,
    Exchange,
    LostEvent,
    Postponed,
    Settled,
    State,
    SweepResult,
)
from shared.redis import NotReplicatedError, keys
from shared.redis.replication import run_replicated, run_replicated_async
from shared.redis.scripts import LuaScript
from shared.settings import EngineSettings

TAKEOVER_S = 5.0
"""How long a sweeper has to conclude what it took over, before the next sweeper takes it over."""
FLEET_TTL_S = 30.0
"""How long the threads of a process that vanished still count."""
STOP_BELL_TTL_S = 60
"""Longer than a process takes to stop: its consumer may be at work when it is woken."""
MAX_SCANS = 32
"""Lanes that one request looks at when all of them have to wait: Redis is blocked meanwhile."""
GATE_SLICE = 50
"""Lanes that one request releases from a gate."""
UNREPLICATED = frozenset({"sweep", "close_gate", "open_gate"})
"""Commands that may be lost in a failover: the clock, or the next caller, does them again."""


class Lanes:
    """The lanes on a Redis.

    `knows` is the newest version of events that can be read here: later versions wait.
    """

    def __init__(
        self,
        client: "redis.Redis",
        settings: EngineSettings,
        max_scans: int = MAX_SCANS,
        knows: int = NEWEST_VERSION,
    ) -> None:
        self.client = client
        self.settings = settings
        self.replicas = settings.wpp_redis_replicas
        self.takeover_s = TAKEOVER_S
        self.monotonic = time.monotonic
        self.wall = time.time
        self._swept: tuple[int, float] | None = None
        """What the clock of the lanes showed (ms) at a time of ours, see `lua/clock.lua`."""
        self._max_scans = max_scans
        self._knows = knows
        self.runs: dict[str, int] = {}
        """For how many events of a lane, by queue, a claim may be (`Claim.following`); else one."""
        self.on_concluded: Callable[[Claim, ClaimResult], object] = lambda _claim, _result: None
        """Called once for each claim whose result counted, of a worker or of the sweeper."""

    def append(self, item: Append) -> Accepted:
        """Put an event at the end of its lane, once, and ring the bell of its queue.

        Raises:
            IdempotencyConflictError: the id stands for a different request.
            OverloadedError: too many outcomes wait for Supabase, or too many events of this tenant
                and queue for their turn, or Redis has no memory left.
            redis.RedisError: Redis, or a replica, did not confirm; asking again with the same id is
                safe.
        """
        [reply] = self.append_all([item])
        return read_acceptance(item, reply)

    def append_all(self, items: Sequence[Append]) -> list[Any]:
        """Append several events atomically; return a reply for `read_acceptance` each."""
        return self.append_packed(self.append_arguments(items))

    def append_packed(self, arguments: Sequence[str]) -> list[Any]:
        """Do what `append_all` does, with `append_arguments` of the events."""
        return wire.split_replies(self._run(APPEND, arguments))

    async def append_async(
        self, client: "redis.asyncio.Redis", items: Sequence[Append]
    ) -> list[Any]:
        """Append several events atomically; return a reply for `read_acceptance` each."""
        return await self.append_packed_async(client, self.append_arguments(items))

    async def append_packed_async(
        self, client: "redis.asyncio.Redis", arguments: Sequence[str]
    ) -> list[Any]:
        """Do what `append_async` does, with `append_arguments` of the events."""
        reply = await run_replicated_async(client, APPEND, [keys.PREFIX], arguments, self.replicas)
        return wire.split_replies(reply)

    def append_arguments(self, items: Sequence[Append]) -> list[str]:
        """Return the arguments of the script `APPEND`."""
        return wire.dump_appends(items, self.settings)

    def claim(self, queue: str, sequence: ClaimSequence) -> Claim | None:
        """Claim the next ready event of `queue`, or return None when none is ready."""
        while True:
            found = self.exchange(queue, sequence, 1)
            if found.claims or not found.more:
                return next(iter(found.claims), None)

    def conclude(
        self, claim: Claim, result: ClaimResult, sequence: ClaimSequence | None = None
    ) -> tuple[bool, Claim | None]:
        """End a claim; with a `sequence`, claim the next event in the same round trip.

        Returns whether the result counted (not when the event was concluded or claimed elsewhere
        since), and the next claim.
        """
        found = self.exchange(
            claim.queue,
            sequence or ClaimSequence(""),
            1 if sequence else 0,
            [wire.dump_result(claim, result, self.settings)],
        )
        following = next(iter(found.claims), None)
        if sequence and not following and found.more:
            following = self.claim(claim.queue, sequence)
        return found.counted[0], following

    def exchange(
        self, queue: str, sequence: ClaimSequence, count: int, results: Sequence[str] = ()
    ) -> Exchange:
        """Conclude with `results` (of `wire.dump_result`), then claim up to `count` events.

        Safe to repeat after an error, with the same sequence: it then has one effect, and the same
        claims are returned, as far as they still hold. Claims that the replicas do not confirm are
        handed back: after a failover nobody would know of them.

        It is a single, short step of Redis. No claims and `more`: lanes that have to wait stood in
        front. They are out of the way now, and the caller asks again if it still wants claims.
        """
        request = self._claim_request(queue, sequence, count) if count else ""
        asked_s = time.monotonic()
        arguments = [*self._retention(queue), request, *results]
        try:
            words, (status, found) = self._run(EXCHANGE, arguments)
        except NotReplicatedError as error:
            self._return_claims(queue, error.reply, sequence)
            raise
        sequence.number += 1 if count else 0
        until_s = asked_s + self.settings.wpp_lease_s
        claims = [wire.read_claim(queue, reply, until_s) for reply in found]
        counted = [word == b"ok" for word, _ in words]
        more = status in {b"more", b"again"}
        return Exchange(counted, claims, more, [run for _, run in words])

    def register(self, queue: str, process: str, threads: int) -> int:
        """Say how many threads a worker process has for `queue`; repeat it within `FLEET_TTL_S`.

        Tenants share the threads of all processes (`lua/share.lua`). With 0 threads the process is
        removed. Returns the number of all threads.
        """
        arguments = {
            "queue": queue,
            "process": process,
            "threads": threads,
            "ttl": int(FLEET_TTL_S * 1000),
        }
        return int(self._operate("register", arguments))

    def extend(self, claim: Claim) -> bool:
        """Renew the lease from now on. False: the claim is lost, stop working on its event."""
        arguments = {
            "queue": claim.queue,
            "lane": claim.lane,
            "fence": claim.fence,
            "lease": self._lease_ms,
        }
        return bool(self._operate("extend", arguments) == b"ok")

    def sweep(self, queue: str, count: int = 50) -> SweepResult:
        """Sweep a queue, as `sweep_all` does."""
        return self.sweep_all([queue], count)[queue]

    def sweep_all(self, queues: Sequence[str], count: int = 50) -> dict[str, SweepResult]:
        """Make due lanes ready, take over claims whose lease has ended, ring for what is ready.

        Scheduled events that are due enter their lanes. `count` limits a queue. Any number of
        sweepers may run.
        """
        arguments = {
            "queues": list(queues),
            "count": count,
            "lease": int(self.takeover_s * 1000),
            "wall": int(self.wall() * 1000),
            "knows": self._knows,
        }
        if self._swept:
            shown_ms, at_s = self._swept
            arguments["at_least"] = shown_ms + int((self.monotonic() - at_s) * 1000)
        now, swept = self._operate("sweep", arguments)
        self._swept = (int(now), self.monotonic())
        return {
            queue: SweepResult(
                ready=ready,
                next_due_ms=None if due == b"-1" else max(0, int(due)),
                expired_claims=[wire.read_claim(queue, reply) for reply in taken],
                lost=[wire.read_lost(queue, reply) for reply in lost],
            )
            for queue, (ready, due, taken, lost) in zip(queues, swept, strict=True)
        }

    def tell_lost(self, queue: str, lost: Sequence[LostEvent], outcomes: Sequence[Any]) -> None:
        """Put the outcomes of lost events into the outbox, and list these events no longer."""
        arguments = {
            "queue": queue,
            "lost": [event.raw for event in lost],
            "outcomes": [wire.dump_model(outcome) for outcome in outcomes],
        }
        self._operate("tell_lost", arguments)

    def repair(
        self,
        lanes: Sequence[str] = (),
        tenants: Sequence[tuple[str, str]] = (),
        events: Sequence[str] = (),
    ) -> int:
        """Put back what `shared.lanes.repair` found in no index; return how many it was.

        `tenants`: (queue, tenant). The first of `events` ends up behind the last.
        """
        arguments = {
            "lanes": list(lanes),
            "tenants": list(tenants),
            "events": list(events),
            "lease": self._lease_ms,
            "unknown_ttl": self.settings.wpp_unknown_ttl_s,
        }
        return int(self._operate("repair", arguments))

    def resolve(self, event_id: UUID, settled: Settled) -> bool:
        """Settle an event whose effect was unknown.

        State "queued" sends it once more, as the last of its lane.
        """
        arguments = {
            "id": str(event_id),
            "state": settled.state,
            "fields": dict(settled.fields),
            "outcomes": [wire.dump_model(outcome) for outcome in settled.outcomes],
            "ttl": self.settings.record_ttl_s("send"),
            "max_age": int(self.settings.wpp_max_age_s * 1000),
        }
        return bool(self._operate("resolve", arguments) == b"ok")

    def replay(self, item: Append) -> bool:
        """Put a failed event back as the last of its lane. False: it is queued or done already.

        Raises:
            OverloadedError: too many outcomes wait for Supabase.
        """
        reply = self._operate("replay", wire.build_append(item, self.settings))
        return wire.read_accepted(item, reply).new

    def cancel(self, event_id: UUID, queue: str, tenant: str, end: Settled) -> CancelResult:
        """Settle an event that waits as cancelled: its handler never begins.

        Exactly one of this call and a claim succeeds.
        """
        arguments = {
            "id": str(event_id),
            "queue": queue,
            "tenant": tenant,
            "fields": dict(end.fields),
            "outcomes": [wire.dump_model(outcome) for outcome in end.outcomes],
            "ttl": self.settings.record_ttl_s(queue),
        }
        result: CancelResult = self._operate("cancel", arguments).decode()
        return result

    def reconcile(self, event_id: UUID, end: Settled) -> bool:
        """End an event that is open, while no worker runs; False: it is not open."""
        arguments = {
            "id": str(event_id),
            "state": end.state,
            "fields": dict(end.fields),
            "outcomes": [wire.dump_model(outcome) for outcome in end.outcomes],
            "keep": {
                "ttl": self.settings.record_ttl_s("send"),
                "unknown_ttl": self.settings.wpp_unknown_ttl_s,
                "unknown_limit": self.settings.wpp_unknown_limit,
            },
        }
        return bool(self._operate("reconcile", arguments) == b"ok")

    def recall(self, messages: Iterable[tuple[UUID, State, str, datetime]]) -> int:
        """Make records of ended messages that have none; return how many.

        Each with its state, its tenant, and when it was accepted.
        """
        listed = [
            {
                "id": str(event_id),
                "state": state,
                "tenant": tenant,
                "accepted": str(int(accepted.timestamp() * 1000)),
            }
            for event_id, state, tenant, accepted in messages
        ]
        arguments = {"messages": listed, "ttl": self.settings.record_ttl_s("send")}
        return int(self._operate("recall", arguments))

    def unknown_events(self, lane: str) -> list[UUID]:
        """Return the events of a lane whose effect is unknown."""
        found: Any = self.client.smembers(keys.unknown_events(lane))
        return [UUID(event_id.decode()) for event_id in found]

    def close_gate(self, gate: str, seconds: float, reason: str) -> None:
        """Hold every lane that names `gate`, for at most `seconds`: their events wait in order."""
        arguments = {"gate": gate, "ms": max(1, int(seconds * 1000)), "reason": reason}
        self._operate("close_gate", arguments)

    def open_gate(self, gate: str) -> int:
        """Let the lanes held at `gate` go on; return their number.

        They are released in slices, between which Redis serves its clients. It ends early when the
        gate is closed again meanwhile.
        """
        arguments = {"gate": gate, "count": GATE_SLICE, "first": True}
        total = 0
        while count := int(self._operate("open_gate", arguments)):
            total += count
            arguments["first"] = False
        return total

    def await_bell(self, queue: str, timeout_s: float, consumer: str = "") -> bool:
        """Block until a lane of `queue` becomes ready.

        False when `timeout_s` is over, or `wake` was called for `consumer`.
        """
        stop = keys.stop_bell(consumer)
        newer = [keys.newer_bell(queue, version) for version in range(2, self._knows + 1)]
        found = self.client.blpop([stop, keys.bell(queue), *newer], timeout=timeout_s)
        return found is not None and found[0] != stop.encode()

    def wake(self, consumer: str) -> None:
        """End the wait of `await_bell` for one consumer, or its next wait."""
        pipe = self.client.pipeline()
        pipe.rpush(keys.stop_bell(consumer), 1)
        pipe.expire(keys.stop_bell(consumer), STOP_BELL_TTL_S)
        pipe.execute()

    def ring(self, queue: str) -> None:
        """Give back a token of `await_bell`."""
        self.client.rpush(keys.bell(queue), 1)

    @property
    def _lease_ms(self) -> int:
        return int(self.settings.wpp_lease_s * 1000)

    def _retention(self, queue: str) -> list[str]:
        settings = self.settings
        numbers = (
            settings.record_ttl_s(queue),
            settings.wpp_unknown_ttl_s,
            settings.wpp_unknown_limit,
        )
        return [str(number) for number in numbers]

    def _operate(self, command: str, arguments: Mapping[str, Any]) -> Any:
        packed = [command, wire.dump_json(arguments)]
        if command in UNREPLICATED:
            return OPERATE.run(self.client, [keys.PREFIX], packed)
        return self._run(OPERATE, packed)

    def _run(self, script: LuaScript, arguments: Sequence[str]) -> Any:
        return run_replicated(self.client, script, [keys.PREFIX], arguments, self.replicas)

    def _return_claims(self, queue: str, reply: Any, sequence: ClaimSequence) -> None:
        """Hand back claims that were not confirmed. Their reply is not repeated then."""
        claims = [wire.read_claim(queue, each) for each in reply[1][1]]
        if claims:
            results = [
                wire.dump_result(claim, Postponed(0, claim.reason, unstarted=True), self.settings)
                for claim in claims
            ]
            arguments = [*self._retention(queue), "", *results]
            EXCHANGE.run(self.client, [keys.PREFIX], arguments)
            sequence.number += 1

    def _claim_request(self, queue: str, sequence: ClaimSequence, count: int) -> str:
        request = {
            "queue": queue,
            "sequence": sequence.name,
            "number": sequence.number + 1,
            "count": count,
            "lease": self._lease_ms,
            "max_scans": self._max_scans,
            "knows": self._knows,
            "outbox_limit": self.settings.wpp_outbox_limit,
        }
        if queue in self.runs:
            request["run"] = self.runs[queue]
        return wire.dump_json(request)

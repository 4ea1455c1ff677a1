"""The outbox: outcomes on their way to Supabase, in a Redis stream that recorders share.

A recorder takes outcomes of each tenant in turn, so that a tenant's backlog delays no other's rows.
A taken outcome stays until it is acknowledged. Those that a dead recorder left behind go to another
recorder after `ABANDONED_MS`. Delivery is at least once: the SQL that applies an outcome is
idempotent.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from shared.events import QUEUE_NAMES
from shared.lanes.records import count_left_lanes
from shared.lanes.scripts import load_script
from shared.outcomes import Outcome, SetAside
from shared.redis import keys
from shared.redis.scripts import LuaScript

ABANDONED_MS = 15_000
BATCH_ROWS = 200
BATCH_BYTES = 1_000_000
"""Limit of a batch; a longer outcome is a batch of its own."""
BLOCKED_TTL_S = 60
SET_ASIDE_TTL_S = 90
"""Longer than a recorder's pause between two looks at what is set aside."""
MAX_BLOCK_S = 4.5
"""Longest blocking read: a stop waits for it, and so do the entries of a dead recorder. A plain
client of redis-py takes 5 s of silence for a dead connection."""

ADD = load_script("clock", "places", "main_outbox_add")
TAKE = load_script("clock", "places", "main_outbox_take")
RETURN = load_script("clock", "places", "main_outbox_return")
LEAVE = LuaScript("""
redis.call('ZREM', KEYS[1], ARGV[2])
return redis.call('ZADD', KEYS[2], ARGV[1], ARGV[2])
""")
RETURN_ROWS = 100
"""Outcomes of a step: Redis does nothing else meanwhile."""
ACKNOWLEDGE = LuaScript("""
redis.call('ZREM', KEYS[2], unpack(ARGV))
return redis.call('XDEL', KEYS[1], unpack(ARGV))
""")
"""An atomic step. A script and no MULTI: a Redis without free memory refuses transactions, and
acknowledging is what frees memory."""


@dataclass(frozen=True)
class OutboxEntry:
    """`size` is the length of the row as JSON, in bytes."""

    id: bytes
    row: dict[str, Any]
    size: int = 0

    @property
    def version(self) -> int:
        """The version of its shape: a recorder that does not know it leaves the outcome."""
        found = self.row.get("v", 1)
        return found if isinstance(found, int) else 1

    @property
    def added_s(self) -> float:
        """When it entered the outbox, in seconds since 1970."""
        return int(self.id.split(b"-")[0]) / 1000


class Outbox:
    def __init__(self, client: "redis.Redis", *, abandoned_ms: int = ABANDONED_MS) -> None:
        self.client = client
        self.abandoned_ms = abandoned_ms
        self._took_all = False
        """The last batch was not full: what was added since has rung the bell."""

    def read(
        self,
        rows: int = BATCH_ROWS,
        idle_s: float = MAX_BLOCK_S,
        gather_s: float = 0.2,
        max_bytes: int = BATCH_BYTES,
    ) -> list[OutboxEntry]:
        """Return the next batch: `rows` entries or `max_bytes`, or what arrives within `gather_s`.

        Blocks for a first entry up to `idle_s`, at most `MAX_BLOCK_S`; `gather_s` begins with it.
        Abandoned entries are returned first and in a batch of their own: some of them may take long
        to apply, and new entries do not wait for them.
        """
        abandoned, batch = False, list[OutboxEntry]()
        if not self._took_all:
            abandoned, batch = self._take("any", rows, max_bytes)
        if not batch:
            rung = self.client.blpop([keys.OUTBOX_BELL], min(idle_s, MAX_BLOCK_S))
            if rung or self._took_all:
                abandoned, batch = self._take("any", rows, max_bytes)
        size = sum(entry.size for entry in batch)
        if not abandoned and 0 < len(batch) < rows and size < max_bytes:
            time.sleep(gather_s)
            batch += self._take("new", rows - len(batch), max_bytes, size)[1]
        size = sum(entry.size for entry in batch)
        self._took_all = not abandoned and len(batch) < rows and size < max_bytes
        return batch

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append outcomes that belong to no event, for example results of health checks."""
        self.add_rows([outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes])

    def add_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append outcomes in their JSON form, for example those that Supabase refused before."""
        arguments: list[str] = []
        for row in rows:
            arguments += [_find_tenant(row), json.dumps(row)]
        ADD.run(self.client, [keys.PREFIX], arguments)

    def acknowledge(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete entries that are stored in Supabase."""
        if entries:
            ids = [entry.id for entry in entries]
            ACKNOWLEDGE.run(self.client, [keys.OUTBOX, keys.OUTBOX_TAKEN], ids)

    def leave(self, entry: OutboxEntry) -> None:
        """Have a taken entry wait for a recorder that knows its version (`return_left`)."""
        names = [keys.OUTBOX_TAKEN, keys.OUTBOX_NEWER]
        LEAVE.run(self.client, names, [entry.version, entry.id])

    def return_left(self, knows: int) -> int:
        """Have entries of versions up to `knows` that were left read again; return how many."""
        total = 0
        while count := int(RETURN.run(self.client, [keys.PREFIX], [knows, RETURN_ROWS])):
            total += count
        return total

    @property
    def left(self) -> int:
        """How many outcomes wait for a newer recorder, or for a newer database."""
        return int(self.client.zcard(keys.OUTBOX_NEWER))

    def report_blocked(self, reason: str | None) -> None:
        """Publish for a minute why no outcome can be written to Supabase; None: it works again."""
        if reason is None:
            self.client.delete(keys.OUTBOX_BLOCKED)
        else:
            self.client.set(keys.OUTBOX_BLOCKED, reason, ex=BLOCKED_TTL_S)

    @property
    def blocked_reason(self) -> str | None:
        """Why no outcome can be written to Supabase, if a recorder reported it within a minute."""
        reason: Any = self.client.get(keys.OUTBOX_BLOCKED)
        return reason.decode() if reason else None

    def report_set_aside(self, organizations: Sequence[SetAside]) -> None:
        """Publish which organizations are set aside."""
        if not organizations:
            self.client.delete(keys.SET_ASIDE)
            return
        listed = json.dumps([each.model_dump(mode="json") for each in organizations])
        self.client.set(keys.SET_ASIDE, listed, ex=SET_ASIDE_TTL_S)

    @property
    def set_aside(self) -> list[SetAside]:
        """The organizations that are set aside, as a recorder reported them last."""
        listed: Any = self.client.get(keys.SET_ASIDE)
        return [SetAside.model_validate(each) for each in json.loads(listed)] if listed else []

    def publish_changes(self, changes: Sequence[dict[str, Any]]) -> None:
        """Notify the watchers of each organization of the rows that have changed."""
        by_organization: dict[str, list[dict[str, Any]]] = {}
        for change in changes:
            by_organization.setdefault(change["organization_id"], []).append(change)
        pipe = self.client.pipeline(transaction=False)
        for organization, items in by_organization.items():
            pipe.publish(keys.changes(organization), json.dumps(items))
        if by_organization:
            pipe.execute()

    def age_s(self) -> float | None:
        """Return how long the oldest outcome has waited, in seconds; None for an empty outbox."""
        first: Any = self.client.xrange(keys.OUTBOX, count=1)
        if not first:
            return None
        seconds, microseconds = self.client.time()
        return seconds + microseconds / 1e6 - int(first[0][0].split(b"-")[0]) / 1000

    def newest_id(self) -> bytes:
        """Return the id of the entry that was added last; `b"0-0"` where there was none."""
        try:
            stream: Any = self.client.xinfo_stream(keys.OUTBOX)
        except redis.ResponseError:  # there is no such key
            return b"0-0"
        return bytes(stream["last-generated-id"])

    def has_passed(self, entry_id: bytes) -> bool:
        """Return whether an entry, and all entries before it, were acknowledged."""
        first: Any = self.client.xrange(keys.OUTBOX, count=1)
        return not first or _order(first[0][0]) > _order(entry_id)

    def __len__(self) -> int:
        return int(self.client.xlen(keys.OUTBOX))

    def _take(
        self, which: str, rows: int, max_bytes: int, size: int = 0
    ) -> tuple[bool, list[OutboxEntry]]:
        """Return whether the entries were abandoned, and the entries."""
        arguments = (which, rows, max_bytes, size, self.abandoned_ms)
        abandoned, taken = TAKE.run(self.client, [keys.PREFIX], arguments)
        return bool(abandoned), [
            OutboxEntry(entry_id, json.loads(row), len(row))
            for entry_id, row in zip(taken[::2], taken[1::2], strict=True)
        ]


def count_left(client: "redis.Redis") -> dict[str, int]:
    """Return by kind what waits for processes of a newer version: lanes of events, outcomes."""
    return {**count_left_lanes(client, QUEUE_NAMES), "outcome": Outbox(client).left}


def _order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _find_tenant(row: dict[str, Any]) -> str:
    """Return in whose turn an outcome is taken: its organization's, or else its account's."""
    return str(row.get("organization_id") or row.get("account") or "")

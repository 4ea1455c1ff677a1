"""The outbox: outcomes on their way to Supabase, in a Redis stream that recorders share.

The recorders are a consumer group, so each entry is delivered to a single recorder and stays
pending until it is acknowledged. Entries that a dead recorder left pending go to another recorder
after `ABANDONED_MS`. Delivery is at least once: the SQL that applies an outcome is idempotent.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from shared.outcomes import Outcome, SetAside
from shared.redis import keys
from shared.redis.scripts import LuaScript

CONSUMER_GROUP = "recorders"
ABANDONED_MS = 15_000
BLOCKED_TTL_S = 60
SET_ASIDE_TTL_S = 90
"""Longer than a recorder's pause between two looks at what is set aside."""
MAX_BLOCK_S = 3.0
"""Longest blocking read: redis-py takes 5 s of silence, its timeout, for a dead connection."""
IDLE_CONSUMER_MS = 3_600_000

ACKNOWLEDGE = LuaScript("""
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
""")
"""An atomic step. A script and no MULTI: a Redis without free memory refuses transactions, and
acknowledging is what frees memory."""
PRUNE_CONSUMERS = LuaScript("""
local pruned = 0
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end -- the stream or the group does not exist yet
for _, fields in ipairs(consumers) do
  local consumer = {}
  for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    pruned = pruned + 1
  end
end
return pruned
""")
"""Check and delete in a single step: a consumer's pending entries are discarded with it."""


@dataclass(frozen=True)
class OutboxEntry:
    id: bytes
    row: dict[str, Any]

    @property
    def added_s(self) -> float:
        """When it entered the outbox, in seconds since 1970."""
        return int(self.id.split(b"-")[0]) / 1000


class Outbox:
    def __init__(
        self, client: "redis.Redis", consumer: str, *, abandoned_ms: int = ABANDONED_MS
    ) -> None:
        """`consumer` names a recorder; a client that only writes or watches passes any name."""
        self.client = client
        self.consumer = consumer
        self.abandoned_ms = abandoned_ms

    def read(
        self, rows: int = 200, idle_s: float = MAX_BLOCK_S, gather_s: float = 0.2
    ) -> list[OutboxEntry]:
        """Return the next batch: `rows` entries, or those that arrive within `gather_s`.

        Blocks for a first entry up to `idle_s`, at most `MAX_BLOCK_S`; `gather_s` begins with it.
        Abandoned entries are returned first and in a batch of their own: some of them may take long
        to apply, and new entries do not wait for them.
        """
        try:
            if abandoned := self._claim_abandoned(rows):
                return abandoned
            batch = self._read_new(rows, idle_s)
            if 0 < len(batch) < rows:
                time.sleep(gather_s)
                batch += self._read_new(rows - len(batch), None)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._create_group()
            return []
        return batch

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append outcomes that belong to no event, for example results of health checks."""
        self.add_rows([outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes])

    def add_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append outcomes in their JSON form, for example those that Supabase refused before."""
        pipe = self.client.pipeline(transaction=True)
        for row in rows:
            pipe.xadd(keys.OUTBOX, {"r": json.dumps(row)})
        pipe.execute()

    def acknowledge(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete entries that are stored in Supabase."""
        if entries:
            ids = [entry.id for entry in entries]
            ACKNOWLEDGE.run(self.client, [keys.OUTBOX], [CONSUMER_GROUP, *ids])

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

    def prune_consumers(self, idle_ms: int = IDLE_CONSUMER_MS) -> int:
        """Delete consumers that were idle for so long with nothing pending; return how many."""
        return int(PRUNE_CONSUMERS.run(self.client, [keys.OUTBOX], [CONSUMER_GROUP, idle_ms]))

    def __len__(self) -> int:
        return int(self.client.xlen(keys.OUTBOX))

    def _create_group(self) -> None:
        try:
            self.client.xgroup_create(keys.OUTBOX, CONSUMER_GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _read_new(self, rows: int, wait_s: float | None) -> list[OutboxEntry]:
        block_ms = None if wait_s is None else int(min(wait_s, MAX_BLOCK_S) * 1000)
        reply: Any = self.client.xreadgroup(
            CONSUMER_GROUP, self.consumer, {keys.OUTBOX: ">"}, count=rows, block=block_ms
        )
        return _parse_entries(reply[0][1]) if reply else []

    def _claim_abandoned(self, rows: int) -> list[OutboxEntry]:
        reply: Any = self.client.xautoclaim(
            keys.OUTBOX, CONSUMER_GROUP, self.consumer, self.abandoned_ms, count=rows
        )
        return _parse_entries(reply[1])


def _order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _parse_entries(
    items: Sequence[tuple[bytes, dict[bytes, bytes] | None]],
) -> list[OutboxEntry]:
    """Read the entries of a reply; an entry that was deleted meanwhile has no fields."""
    return [
        OutboxEntry(id=entry_id, row=json.loads(fields[b"r"]))
        for entry_id, fields in items
        if fields
    ]

"""The outbox: outcomes on their way to Supabase, in a Redis stream that several recorders may share.

An entry is read by one recorder, and stays pending until it is done: a recorder that dies leaves its entries to the
others after `ABANDONED_MS`. Applying an outcome twice is harmless (the SQL is idempotent), losing one is not.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from shared.outcomes import Outcome
from shared.redis import keys
from shared.redis.scripts import LuaScript

GROUP = "recorders"
ABANDONED_MS = 15_000
TROUBLE_S = 60
DONE = LuaScript("""
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
""")
"""In one step; and a script, because a full Redis refuses transactions, and nothing else would make room again."""
LONGEST_WAIT_S = 3.0
"""Below redis-py's own socket timeout of 5 s: a wait that outlasts it is taken for a dead connection."""

IDLE_MS = 3_600_000
FORGET = LuaScript("""
local gone, found = 0, redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if found.err then return 0 end -- no stream, or no group, yet
for _, fields in ipairs(found) do
  local is = {}
  for i = 1, #fields, 2 do is[fields[i]] = fields[i + 1] end
  if is.pending == 0 and is.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], is.name)
    gone = gone + 1
  end
end
return gone
""")
"""Looking and forgetting in one step: what a recorder holds would be forgotten with it."""


@dataclass(frozen=True)
class Entry:
    id: bytes
    row: dict[str, Any]


class Outbox:
    def __init__(self, client: "redis.Redis", consumer: str) -> None:
        self.client = client
        self.consumer = consumer

    def read(
        self, rows: int = 200, idle_s: float = LONGEST_WAIT_S, gather_s: float = 0.2
    ) -> list[Entry]:
        """Return the next batch: `rows` of them, or what has come within `gather_s` of the first.

        Waits for a first one up to `idle_s` (at most 3 s), in one blocking command. Abandoned entries come first, and
        by themselves: among them is what always takes long, and it is in no new entry's way.
        """
        try:
            if abandoned := self._abandoned(rows):
                return abandoned
            batch = self._new(rows, idle_s)
            if 0 < len(batch) < rows:
                time.sleep(gather_s)
                batch += self._new(rows - len(batch), None)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._create_group()
            return []
        return batch

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Put outcomes in that belong to no event: what somebody has seen by looking."""
        self.put([outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes])

    def put(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put rows in as they are: outcomes that Supabase has refused, and may take now."""
        pipe = self.client.pipeline(transaction=True)
        for row in rows:
            pipe.xadd(keys.OUTBOX, {"r": json.dumps(row)})
        pipe.execute()

    def done(self, entries: Sequence[Entry]) -> None:
        """Forget entries that Supabase has."""
        if not entries:
            return
        DONE.run(self.client, [keys.OUTBOX], [GROUP, *(entry.id for entry in entries)])

    def complain(self, trouble: str) -> None:
        """Say for the next minute why nothing reaches Supabase."""
        self.client.set(keys.OUTBOX_BLOCKED, trouble, ex=TROUBLE_S)

    @property
    def trouble(self) -> str | None:
        """Why nothing reaches Supabase, where a recorder has said so lately."""
        said: Any = self.client.get(keys.OUTBOX_BLOCKED)
        return said.decode() if said else None

    def announce(self, changes: Sequence[dict[str, Any]]) -> None:
        """Tell pages that watch an organization what has just changed in Supabase."""
        by_organization: dict[str, list[dict[str, Any]]] = {}
        for change in changes:
            by_organization.setdefault(change["organization_id"], []).append(change)
        pipe = self.client.pipeline(transaction=False)
        for organization, items in by_organization.items():
            pipe.publish(keys.changes(organization), json.dumps(items))
        if by_organization:
            pipe.execute()

    def age_s(self) -> float | None:
        """How long the oldest outcome has been on its way; None when there is none."""
        first: Any = self.client.xrange(keys.OUTBOX, count=1)
        if not first:
            return None
        seconds, microseconds = self.client.time()
        return seconds + microseconds / 1e6 - int(first[0][0].split(b"-")[0]) / 1000

    def forget_idle(self) -> int:
        """Forget recorders that were not heard of for an hour and hold nothing; return how many."""
        return int(FORGET.run(self.client, [keys.OUTBOX], [GROUP, IDLE_MS]))

    def __len__(self) -> int:
        return int(self.client.xlen(keys.OUTBOX))

    def _create_group(self) -> None:
        try:
            self.client.xgroup_create(keys.OUTBOX, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _new(self, rows: int, wait_s: float | None) -> list[Entry]:
        block = None if wait_s is None else int(min(wait_s, LONGEST_WAIT_S) * 1000)
        reply: Any = self.client.xreadgroup(
            GROUP, self.consumer, {keys.OUTBOX: ">"}, count=rows, block=block
        )
        return _entries(reply[0][1]) if reply else []

    def _abandoned(self, rows: int) -> list[Entry]:
        reply: Any = self.client.xautoclaim(
            keys.OUTBOX, GROUP, self.consumer, ABANDONED_MS, count=rows
        )
        return _entries(reply[1])


def _entries(items: Sequence[tuple[bytes, dict[bytes, bytes] | None]]) -> list[Entry]:
    return [
        Entry(id=entry_id, row=json.loads(fields[b"r"])) for entry_id, fields in items if fields
    ]

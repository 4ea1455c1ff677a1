"""An organization moves from a shard to another: without loss, without doubling, in order.

1. Its lanes are paused where they are: work that runs ends, nothing new is claimed. It still
   accepts. Records of what has ended are copied meanwhile.
2. The home notes `a>b`: web processes hold its requests. Once all of them know, the shard is
   closed for it: a request that came too late is refused, and looks again where to go.
3. Its results reach Supabase. All that is its own is copied, and its lanes are rebuilt there.
4. The home notes `b`, which is the moment of the move. It is opened there, and deleted here.

Before 4, everything is undone when it takes too long or fails. A process that is killed leaves the
note: the same move again completes it, a move to the shard that it came from undoes it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import redis
import structlog

from shared.database import Database
from shared.errors import PipelineError
from shared.events import QUEUE_NAMES
from shared.lanes.client import Lanes
from shared.outbox import Outbox
from shared.redis import keys
from shared.route_cache import RouteCache
from shared.settings import EngineSettings
from shared.shards import MOVES, REMEMBERED_S
from workers.repair.shard_clients import ShardClients
from workers.repair.shard_keys import (
    OPEN,
    Owned,
    copy_keys,
    copy_members,
    delete_all,
    find_owned,
)

HOLD_S = 8.0
"""How long requests are held: web processes answer 503 after 10 s."""
WORK_S = 90.0
"""How long work that runs may take to end: a lease, and the results before it in the outbox."""
LOCK_S = 15
NOTICE_S = REMEMBERED_S + 0.5
"""After this time every process has seen the note."""
POLL_S = 0.05
BATCH = 20
MAX_APART_MS = 5000
"""How far the clocks of two shards may be apart: times of lanes are copied as they are."""

log = structlog.get_logger()


class MoveError(PipelineError):
    """An organization cannot move now; it is where it was, or the text says what is left to do."""


class Mover:
    """Moves an organization. `hold_s`: how long its requests may wait."""

    def __init__(
        self,
        shards: ShardClients,
        database: Database,
        settings: EngineSettings,
        organization_id: UUID,
        hold_s: float = HOLD_S,
    ) -> None:
        self._shards = shards
        self._database = database
        self._settings = settings
        self._id = str(organization_id)
        self._organization_id = organization_id
        self._hold_s = hold_s
        self._lock = uuid4().hex
        self._tenants: list[str] = []
        self._numbers: list[str] = []
        self._foreign: set[str] = set()
        self.on_step: Callable[[str], object] = lambda _text: None
        """Called as each step begins."""

    def move(self, to: str) -> int:
        """Move the organization to a shard; return how many events wait for it there.

        Raises:
            MoveError: it did not move.
            DatabaseError: Supabase does not answer.
            redis.RedisError: a shard does not answer.
        """
        if to not in self._shards.by_name or self._shards.table is None:
            msg = f"{to} is not in WPP_SHARDS"
            raise MoveError(msg)
        with self._locked():
            self._shards.table.forget(self._organization_id)
            source, _, target = self._shards.table.find(self._organization_id).partition(MOVES)
            if target and to not in {source, target}:
                msg = f"it moves from {source} to {target}: complete or undo that first"
                raise MoveError(msg)
            if target and to == source:
                self._undo(source, target)
            elif source != to:
                self._carry(source, to, noted=bool(target))
            return self._finish(to)

    def _carry(self, source: str, to: str, *, noted: bool) -> None:
        old, new = self._shards.by_name[source], self._shards.by_name[to]
        require_same_time(old, new)
        try:
            if not noted:
                self._prepare(old, new)
            began_s = time.monotonic()
            self._note(f"{source}{MOVES}{to}")
            if not noted:
                self.on_step("requests are held")
                self._sleep(NOTICE_S)
            tenants = self._list_tenants()
            self._set_moving(old, tenants, "closed")
            self._set_moving(new, tenants, "closed")
            until_s = began_s + self._hold_s if not noted else time.monotonic() + self._hold_s
            self._wait_for_work(old, tenants, until_s)
            self.on_step("its keys are copied")
            self._copy(old, new, tenants, until_s)
        except BaseException:
            log.warning("shards.move_undone", organization_id=self._id, shard=source)
            self._undo(source, to)
            raise
        self._note(to)

    def _prepare(self, old: "redis.Redis", new: "redis.Redis") -> None:
        """Pause the lanes, let work end, and copy the records of what has ended."""
        self.on_step("its work ends")
        self._set_moving(old, [self._id], "paused")
        tenants = self._list_tenants()
        self._set_moving(old, tenants, "paused")
        self._wait_for_work(old, tenants, time.monotonic() + WORK_S)
        self.on_step("what has ended is copied")
        self._set_moving(new, tenants, "closed")
        for batch in find_owned(old, self._ids(tenants), set(tenants), self._foreign):
            settled = [name for name, state in batch.records.items() if state not in OPEN]
            copy_keys(old, new, settled)
            self._tick()

    def _copy(
        self, old: "redis.Redis", new: "redis.Redis", tenants: list[str], until_s: float
    ) -> None:
        ids = self._ids(tenants)
        all_owned = Owned()
        for batch in find_owned(old, ids, set(tenants), self._foreign):
            present = new.exists(*batch.settled) if batch.settled else 0
            names = batch.names if present != len(batch.settled) else batch.open_names
            copy_keys(old, new, names)
            all_owned.add(batch)
            self._check(until_s)
        copy_keys(old, new, all_owned.beside_events())
        copy_keys(old, new, map(keys.unknown_events, all_owned.unknown_lanes))
        copy_members(old, new, all_owned, tenants, ids)
        lanes = Lanes(new, self._settings)
        waiting = iter(all_owned.lanes)
        while part := list(islice(waiting, BATCH)):
            lanes.repair(lanes=part)
            self._check(until_s)
        require_whole(old, new, all_owned)

    def _finish(self, to: str) -> int:
        """Open the shard of an organization, and delete its keys elsewhere."""
        tenants = self._list_tenants()
        new = self._shards.by_name[to]
        new.hdel(keys.MOVING, *tenants)
        RouteCache(new, self._database).load_organization(self._organization_id)
        for name, client in self._shards.by_name.items():
            if name != to and client.hexists(keys.MOVING, self._id):
                self._delete(client, tenants)
        waiting = [new.hmget(keys.waiting(queue), tenants) for queue in QUEUE_NAMES]
        return sum(int(count) for counts in waiting for count in counts if count)

    def _undo(self, source: str, target: str) -> None:
        """Have the organization be where it came from, as if nothing had been tried."""
        tenants = self._tenants or self._list_tenants()
        new = self._shards.by_name[target]
        if new.hexists(keys.MOVING, self._id):  # else it has nothing there that was copied
            self._delete(new, tenants)
        self._note(source)
        self._shards.by_name[source].hdel(keys.MOVING, *tenants)

    def _delete(self, client: "redis.Redis", tenants: list[str]) -> None:
        ids = self._ids(tenants)
        owned = Owned()
        for batch in find_owned(client, ids, set(tenants)):
            owned.add(batch)
            self._tick()
        delete_all(client, owned, tenants, ids)

    def _list_tenants(self) -> list[str]:
        """Return the organization, and its accounts: they are the tenants of webhooks and files."""
        accounts = self._database.integrations.list_accounts(self._organization_id)
        self._tenants = [self._id, *accounts]
        return self._tenants

    def _ids(self, tenants: Iterable[str]) -> set[str]:
        if not self._numbers:
            found = self._database.integrations.list_for(self._organization_id)
            self._numbers = [str(number.id) for number in found]
        return {*tenants, *self._numbers}

    def _wait_for_work(self, client: "redis.Redis", tenants: list[str], until_s: float) -> None:
        """Wait until nothing of the tenants is in work, and what was in the outbox is written."""
        while any(any(client.hmget(keys.in_flight(queue), tenants)) for queue in QUEUE_NAMES):
            self._check(until_s, "its work has not ended")
            time.sleep(POLL_S)
        outbox = Outbox(client)
        newest = outbox.newest_id()
        while not outbox.has_passed(newest):
            self._check(until_s, "results have not reached Supabase")
            time.sleep(POLL_S)

    def _set_moving(self, client: "redis.Redis", tenants: Iterable[str], how: str) -> None:
        client.hset(keys.MOVING, mapping=dict.fromkeys(tenants, how))

    def _note(self, place: str) -> None:
        self._tick()
        self._shards.home.hset(keys.SHARD_OF, self._id, place)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        self._tick()

    def _check(
        self, until_s: float, why: str = "copying takes longer than requests can wait"
    ) -> None:
        self._tick()
        if time.monotonic() > until_s:
            msg = f"it did not move: {why}"
            raise MoveError(msg)

    def _tick(self) -> None:
        """Keep the lock; raise MoveError where a different process has it."""
        home = self._shards.home
        if home.get(keys.SHARD_MOVE) != self._lock.encode():
            msg = "another process moves an organization; nothing more is done here"
            raise MoveError(msg)
        home.expire(keys.SHARD_MOVE, LOCK_S)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._shards.home.set(keys.SHARD_MOVE, self._lock, nx=True, ex=LOCK_S):
            msg = f"another process moves an organization, or was killed: try again in {LOCK_S} s"
            raise MoveError(msg)
        try:
            yield
        finally:
            if self._shards.home.get(keys.SHARD_MOVE) == self._lock.encode():
                self._shards.home.delete(keys.SHARD_MOVE)


def require_same_time(one: "redis.Redis", other: "redis.Redis") -> None:
    """Raise MoveError where the clocks of the lanes of two shards differ."""
    shown = []
    for client in (one, other):
        seconds, micros = client.time()
        lanes, wall = client.hmget(keys.LANE_CLOCK, "lanes", "wall")
        shown.append(seconds * 1000 + micros // 1000 + int(lanes or 0) - int(wall or 0))
    if abs(shown[0] - shown[1]) > MAX_APART_MS:
        msg = "it did not move: the clocks of both Redis are more than 5 s apart"
        raise MoveError(msg)


def require_whole(old: "redis.Redis", new: "redis.Redis", owned: Owned) -> None:
    """Raise MoveError unless each lane has as many events on both shards."""
    counts: list[Counter[str]] = []
    for client in (old, new):
        pipe: Any = client.pipeline(transaction=False)
        for lane in owned.lanes:
            pipe.llen(keys.lane(lane))
        counts.append(Counter(dict(zip(owned.lanes, pipe.execute(), strict=True))))
    if counts[0] != counts[1]:
        msg = "it did not move: its lanes were not copied as they are"
        raise MoveError(msg)

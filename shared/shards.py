"""Shards: each organization has its work on one of several Redis.

A new organization goes to the shard that rendezvous hashing gives it (Thaler and Ravishankar,
1998). The first shard, the home, keeps a note of each organization's place, and the note counts: a
further shard, or a new order of the setting, moves no organization. Rate limits, sessions, keys of
callers and these notes belong to no organization: they are on the home.

While an organization moves from shard a to b, its note is `a>b`: nothing is written for it then.

Each worker, recorder and clock works for one shard (`WPP_SHARD`) as if there was no other.
"""

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self
from uuid import UUID

import redis
import redis.asyncio
from cachetools import TTLCache
from pydantic import SecretStr

from shared.errors import ConfigurationError, OverloadedError
from shared.events import QUEUE_NAMES
from shared.redis import connect, connect_async, keys
from shared.redis.scripts import LuaScript
from shared.route_cache import IntegrationRoute
from shared.settings import RedisSettings

REMEMBERED_S = 2.0
"""How long a process may not know that an organization moves. The shard that it leaves knows."""
MOVES = ">"
MAX_REMEMBERED = 100_000

FIND = LuaScript("""
if redis.call('HEXISTS', KEYS[1], '') == 0 then return false end
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[1], ARGV[1])
""")
"""Return the place of an organization; a new one gets the proposed shard. Nil without notes."""

BEGIN = LuaScript("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for _, organization in ipairs(ARGV) do redis.call('HSET', KEYS[1], organization, ARGV[1]) end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], '', ARGV[1])
return #ARGV - 1
""")
"""Note once that the organizations behind the first argument are on that shard, the home."""


def choose_shard(names: Sequence[str], organization_id: UUID | str) -> str:
    """Return the shard of a new organization: the same for each order of `names`.

    Each further shard gets its part of the organizations, and no shard gets more beside it.
    """

    def weigh(name: str) -> bytes:
        return hashlib.blake2b(f"{name}\n{organization_id}".encode(), digest_size=8).digest()

    return max(names, key=weigh)


class ShardTable:
    """Which organization is on which shard. Threads may share it."""

    def __init__(
        self,
        names: Sequence[str],
        home: "redis.Redis",
        home_async: "redis.asyncio.Redis | None" = None,
    ) -> None:
        self.names = tuple(names)
        self._home = home
        self._home_async = home_async
        self._known: TTLCache[str, str] = TTLCache(MAX_REMEMBERED, REMEMBERED_S)
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, shards: Mapping[str, SecretStr]) -> Self:
        """Return the table of these shards, the home first. It connects when it is used."""
        home = next(iter(shards.values()))
        return cls(tuple(shards), connect(home), connect_async(home))

    def begin(self, others: Iterable["redis.Redis"]) -> None:
        """Note once that the organizations of a single Redis are on the home; check the shards.

        Raises:
            ConfigurationError: organizations are on a shard that WPP_SHARDS does not list, or
                `others` were used and the home has no notes.
            redis.RedisError: a shard does not answer.
        """
        if not self._home.exists(keys.SHARD_OF):
            if any(each.exists(keys.FENCE) for each in others):
                msg = "cannot start: WPP_SHARDS: shards are in use, and the home has no notes of "
                msg += "which organization is where; see docs/shards.md"
                raise ConfigurationError(msg)
            BEGIN.run(
                self._home, [keys.SHARD_OF], [self.names[0], *sorted(find_owners(self._home))]
            )
        noted = {name for place in self.read().values() for name in place.split(MOVES)}
        if missing := noted.difference(self.names):
            listed = ", ".join(sorted(missing))
            msg = f"cannot start: WPP_SHARDS: organizations are on {listed}, which it does not list"
            raise ConfigurationError(msg)

    def find(self, organization_id: UUID | str) -> str:
        """Return the name of the shard of an organization, or `a>b` while it moves.

        Raises:
            OverloadedError: the home has no notes.
            redis.RedisError: the home does not answer.
        """
        found = self._recall(organization_id)
        return found or self._keep(
            organization_id, FIND.run(self._home, [keys.SHARD_OF], self._propose(organization_id))
        )

    def require(self, organization_id: UUID | str) -> str:
        """Return the name of the shard of an organization that does not move.

        Raises:
            OverloadedError: it moves; or the home has no notes.
            redis.RedisError: the home does not answer.
        """
        place = self.find(organization_id)
        if MOVES in place:
            msg = f"organization {organization_id} moves to another Redis ({place}); "
            msg += "try again later"
            raise OverloadedError(msg)
        return place

    async def find_async(self, organization_id: UUID | str) -> str:
        """Do what `find` does, on an async client."""
        found = self._recall(organization_id)
        if found:
            return found
        if self._home_async is None:
            return self.find(organization_id)
        proposed = self._propose(organization_id)
        reply = await FIND.run_async(self._home_async, [keys.SHARD_OF], proposed)
        return self._keep(organization_id, reply)

    def read(self) -> dict[str, str]:
        """Return what is noted of each organization; raises redis.RedisError."""
        stored: Any = self._home.hgetall(keys.SHARD_OF)
        return {name.decode(): shard.decode() for name, shard in stored.items() if name}

    async def aclose(self) -> None:
        self._home.close()
        if self._home_async:
            await self._home_async.aclose()

    def _propose(self, organization_id: UUID | str) -> list[str]:
        return [str(organization_id), choose_shard(self.names, organization_id)]

    def forget(self, organization_id: UUID | str) -> None:
        """Look at the note of an organization the next time."""
        with self._lock:
            self._known.pop(str(organization_id), None)

    def _recall(self, organization_id: UUID | str) -> str | None:
        with self._lock:
            return self._known.get(str(organization_id))

    def _keep(self, organization_id: UUID | str, reply: bytes | None) -> str:
        if reply is None:
            msg = "it is not known where organizations are: start a web process, which notes it"
            raise OverloadedError(msg)
        place = reply.decode()
        if MOVES not in place:
            with self._lock:
                self._known[str(organization_id)] = place
        return place


class ShardPart:
    """Which organizations are on a shard."""

    def __init__(self, table: ShardTable | None, name: str) -> None:
        self._table = table
        self._name = name

    @classmethod
    def of(cls, settings: RedisSettings) -> Self:
        """Return the part of the shard of this process. It connects when it is used."""
        table = ShardTable.connect(settings.shards) if settings.shards else None
        return cls(table, settings.shard)

    def has(self, organization_id: UUID) -> bool:
        """Return whether an organization is on this shard; raises redis.RedisError."""
        return self._table is None or self._table.find(organization_id) == self._name

    def list_others(self) -> list[UUID]:
        """Return the organizations that are on other shards; raises redis.RedisError."""
        found = self._table.read() if self._table else {}
        return [UUID(each) for each, name in found.items() if name != self._name]


EVERYTHING = ShardPart(None, "")
"""The part of a single Redis."""


def find_owners(client: "redis.Redis") -> set[str]:
    """Return the organizations that have numbers, or work that waits, on a Redis."""
    owners: set[str] = set()
    for kind in QUEUE_NAMES:
        tenants: Any = client.hkeys(keys.waiting(kind))
        owners.update(tenant.decode() for tenant in tenants)
    tenants = client.smembers(keys.UNKNOWN_TENANTS)
    owners.update(tenant.decode() for tenant in tenants)
    members: Any = sorted(client.smembers(keys.ROUTES))
    stored: Any = client.mget([keys.route(each.decode()) for each in members]) if members else []
    routes = [IntegrationRoute.model_validate_json(each) for each in stored if each]
    owners.update(str(route.organization_id) for route in routes)
    return {owner for owner in owners if _is_id(owner)}


def _is_id(text: str) -> bool:
    """Return whether a tenant is an organization; those of webhooks and files are accounts."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True

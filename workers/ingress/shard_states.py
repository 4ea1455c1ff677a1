"""The state of the web process for each shard, and which of them a request is about."""

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

from cachetools import TTLCache
from fastapi.concurrency import run_in_threadpool

from shared.errors import DatabaseError, OverloadedError
from shared.shards import MOVES, ShardTable

if TYPE_CHECKING:  # it has a field of this class
    from workers.ingress.deps import AppState

MAX_ACCOUNTS = 100_000
ACCOUNT_TTL_S = 60.0
HOLD_S = 10.0
"""How long a request waits for its organization to arrive on another shard."""
LOOK_EVERY_S = 0.1


class ShardStates:
    """The states by the name of their shard; the first is the home."""

    def __init__(self, table: ShardTable) -> None:
        self.table = table
        self.by_name: dict[str, AppState] = {}
        self._owners: TTLCache[str, UUID] = TTLCache(MAX_ACCOUNTS, ACCOUNT_TTL_S)

    async def of_organization(self, organization_id: UUID) -> "AppState":
        """Return the state of an organization's shard; wait while the organization moves.

        Raises:
            OverloadedError: it still moves after `HOLD_S`.
            redis.RedisError: the home does not answer.
        """
        until_s = time.monotonic() + HOLD_S
        while MOVES in (place := await self.table.find_async(organization_id)):
            if time.monotonic() > until_s:
                msg = "the organization moves to another Redis; try again later"
                raise OverloadedError(msg)
            await asyncio.sleep(LOOK_EVERY_S)
        return self.by_name[place]

    async def of_account(self, account: str) -> "AppState":
        """Return the state of the shard of an account's organization; raises as the above.

        That of an account which nobody knows, or which only Supabase knows while it is away, is
        the home: what was posted is kept there.
        """
        home = self.by_name[self.table.names[0]]
        owner = self._owners.get(account)
        if owner is None:
            try:
                route = await run_in_threadpool(home.route_cache.find_account_route, account)
            except DatabaseError:
                return home
            if route is None:
                return home
            owner = self._owners[account] = route.organization_id
        return await self.of_organization(owner)

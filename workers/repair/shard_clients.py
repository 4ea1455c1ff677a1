"""The clients of all shards, for what operators look at and do."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from uuid import UUID

import redis

from shared.lanes.records import record_key
from shared.redis import connect
from shared.settings import RedisSettings
from shared.shards import ShardTable

if TYPE_CHECKING:  # commands that need Redis only import no client of Supabase
    from shared.database import Database


class ShardClients:
    """`by_name`: the clients by the name of the shard, the home first; a single one is ""."""

    def __init__(
        self, by_name: Mapping[str, "redis.Redis"], table: ShardTable | None = None
    ) -> None:
        self.by_name = by_name
        self.table = table
        self.home = next(iter(by_name.values()))

    @classmethod
    def connect(cls, settings: RedisSettings) -> Self:
        """Return the clients of the shards of the settings. They connect when they are used."""
        if not settings.shards:
            return cls({"": connect(settings.redis_url)})
        by_name = {name: connect(url) for name, url in settings.shards.items()}
        return cls(by_name, ShardTable(list(by_name), next(iter(by_name.values()))))

    def list_answering(self) -> "list[redis.Redis]":
        """Return the clients of the shards that answer now; the home if none does."""
        if self.table is None:
            return [self.home]
        found = []
        for client in self.by_name.values():
            with suppress(redis.RedisError):
                client.ping()
                found.append(client)
        return found or [self.home]

    def of_organization(self, organization_id: UUID | None) -> "redis.Redis":
        """Return the client for an organization; of none it is the home's.

        Raises:
            OverloadedError: it moves, or the home has no notes.
            redis.RedisError: the home does not answer.
        """
        if self.table is None or organization_id is None:
            return self.home
        return self.by_name[self.table.require(organization_id)]

    def of_owner(
        self, organization_id: UUID | None, account: str | None, database: "Database"
    ) -> "redis.Redis":
        """Return the client for an organization, or for that of an account."""
        if self.table and organization_id is None and account:
            organization_id = database.integrations.find_owner(account)
        return self.of_organization(organization_id)

    def of_event(self, event_id: UUID) -> "redis.Redis":
        """Return the client of the shard with the record of an event; without one the home's."""
        if self.table:
            for client in self.by_name.values():
                if client.exists(record_key(event_id)):
                    return client
        return self.home

"""Organizations on two Redis: the home is that of the environment."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import redis

from sandbox.redis import RedisServer
from shared.redis import keys
from tests.faults.audit import Audit, collect_audit, wait_until_drained
from tests.faults.callers import AcceptedMessage
from tests.faults.environment import FaultEnvironment

HOME, OTHER = "a", "b"
WORKERS = {"send": 1, "provision": 1, "webhook": 1, "record": 1, "clock": 1}


class TwoShards:
    """`views` are the environment as it is seen on each shard, by the shard's name."""

    def __init__(self, env: FaultEnvironment, server: RedisServer) -> None:
        self.env = env
        self.server = server
        other = copy.copy(env)
        other.client = redis.Redis.from_url(server.url)
        self.views = {HOME: env, OTHER: other}

    def settings(self, shard: str) -> dict[str, str]:
        """Return the settings of the processes of a shard."""
        shards = f"{HOME}={self.env.redis.url} {OTHER}={self.server.url}"
        return {"WPP_SHARDS": shards, "WPP_SHARD": shard}

    def place(self, places: Mapping[UUID, str]) -> None:
        """Note where organizations are, before any process runs."""
        notes: dict[Any, Any] = {"": HOME} | {str(each): shard for each, shard in places.items()}
        self.env.client.hset(keys.SHARD_OF, mapping=notes)

    def find_shard(self, organization_id: UUID) -> str:
        """Return what is noted of an organization."""
        place = self.env.client.hget(keys.SHARD_OF, str(organization_id))
        assert isinstance(place, bytes)
        return place.decode()

    def wait_until_drained(self, within_s: float) -> None:
        for view in self.views.values():
            wait_until_drained(view, within_s)

    def collect_audit(self, tag: str, accepted: Sequence[AcceptedMessage]) -> Audit:
        """Read the stores about the messages that begin with `tag`; records of both shards."""
        audit = collect_audit(self.env, tag, [])
        for shard, view in self.views.items():
            part = [
                each
                for each in accepted
                if self.find_shard(each.conversation.integration.organization_id) == shard
            ]
            audit.records |= collect_audit(view, tag, part).records
        return audit


@contextmanager
def open_shards(env: FaultEnvironment, directory: Path) -> Iterator[TwoShards]:
    with RedisServer(directory) as server:
        shards = TwoShards(env, server)
        yield shards
        shards.views[OTHER].client.close()

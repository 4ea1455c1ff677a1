"""Ids of messages, derived from an organization and an idempotency key with a secret.

An id that anybody could derive can be taken in advance: a user of another organization inserts a
row of `chat_messages` with the id of a message that is yet to come, which then has no row. The
secret stands in Redis beside the records of the messages: each process and each restart derives
the same ids, and a rotation of other secrets changes none. A Redis that lost its data gets the
secret back from the processes that know it.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Self
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import redis
import redis.asyncio

from shared.errors import ConfigurationError
from shared.redis import keys
from shared.redis.scripts import LuaScript

UPGRADE_S = 8 * 86_400
"""How long a record answers an idempotency key, unless set otherwise."""

KEEP_EVERY_S = 5.0
"""How often a process looks whether Redis still has the secret."""

NAMES = (keys.EVENT_ID_SECRET, keys.PREVIOUS_EVENT_IDS, keys.FENCE)

LOAD = LuaScript("""
local secret = redis.call('GET', KEYS[1])
if not secret then
  secret = ARGV[1]
  if ARGV[3] == '' and redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
  end
  redis.call('SET', KEYS[1], secret)
end
return {secret, redis.call('TTL', KEYS[2])}
""")
"""Return the secret, and for how many seconds from now earlier ids count; create it at first.

`ARGV[3]`: whether the given secret was in use before, or empty.
"""


@dataclass
class EventIds:
    """`previous_until_s`: until when, in s since 1970, ids that needed no secret may be in use."""

    secret: bytes = field(repr=False)
    previous_until_s: float = 0.0
    _kept_s: float = field(default_factory=time.monotonic, compare=False, repr=False)

    @classmethod
    def load(cls, client: "redis.Redis") -> Self:
        """Read the secret from Redis; raises redis.RedisError."""
        secret, ttl_s = LOAD.run(client, NAMES, [secrets.token_hex(32), UPGRADE_S, ""])
        return cls(bytes(secret), time.time() + ttl_s)

    @classmethod
    async def load_async(cls, client: "redis.asyncio.Redis") -> Self:
        """Do what `load` does, on an async client."""
        new = [secrets.token_hex(32), UPGRADE_S, ""]
        secret, ttl_s = await LOAD.run_async(client, NAMES, new)
        return cls(bytes(secret), time.time() + ttl_s)

    @property
    def is_due(self) -> bool:
        """Whether `keep` has not run for a while."""
        return time.monotonic() - self._kept_s >= KEEP_EVERY_S

    def keep(self, client: "redis.Redis") -> None:
        """Put the secret back where Redis lost it, or take the secret that stands there.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        self._keep(*LOAD.run(client, NAMES, [self.secret, UPGRADE_S, "known"]))

    async def keep_async(self, client: "redis.asyncio.Redis") -> None:
        """Do what `keep` does, on an async client."""
        self._keep(*await LOAD.run_async(client, NAMES, [self.secret, UPGRADE_S, "known"]))

    def share(self, client: "redis.Redis") -> None:
        """Give another shard the same secret.

        Raises:
            ConfigurationError: it has one of its own: other messages have ids that this shard made.
            redis.RedisError: the shard does not answer.
        """
        secret, _ = LOAD.run(client, NAMES, [self.secret, UPGRADE_S, "known"])
        if bytes(secret) != self.secret:
            msg = (
                "cannot start: WPP_SHARDS: a shard was used without the others; see docs/shards.md"
            )
            raise ConfigurationError(msg)

    async def share_async(self, client: "redis.asyncio.Redis") -> None:
        """Give the secret back to another shard that lost its data."""
        await LOAD.run_async(client, NAMES, [self.secret, UPGRADE_S, "known"])

    def _keep(self, secret: bytes, ttl_s: int) -> None:
        self.secret, self.previous_until_s = bytes(secret), time.time() + ttl_s
        self._kept_s = time.monotonic()

    def make(self, tenant: UUID | str, idempotency_key: str | None) -> UUID:
        """Return the id of an event: derived from tenant and key, or random without a key.

        Raises:
            ValueError: the key is empty, most likely by mistake of the caller.
        """
        if idempotency_key is None:
            return uuid4()
        if not idempotency_key:
            msg = "the idempotency key is empty; pass None for no key"
            raise ValueError(msg)
        text = f"{tenant}:{idempotency_key}".encode(errors="surrogatepass")
        return UUID(bytes=hmac.digest(self.secret, text, hashlib.sha256)[:16], version=4)

    def make_previous(self, tenant: UUID | str, idempotency_key: str | None) -> UUID | None:
        """Return the id of before there was a secret; None if no such event can have a record.

        A record with this id is of a request that came before the update: a retry of it continues
        under the same id.
        """
        if not idempotency_key or time.time() > self.previous_until_s:
            return None
        return uuid5(NAMESPACE_URL, f"wpp:{tenant}:{idempotency_key}")

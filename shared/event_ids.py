"""Ids of messages, derived from an organization and an idempotency key with a secret.

An id that anybody could derive can be taken in advance: a user of another organization inserts a
row of `chat_messages` with the id of a message that is yet to come, which then has no row. The
secret stands in Redis beside the records of the messages: each process and each restart derives
the same ids, and a rotation of other secrets changes none.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Self
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import redis

from shared.redis import keys
from shared.redis.scripts import LuaScript

UPGRADE_S = 8 * 86_400
"""How long a record answers an idempotency key, unless set otherwise."""

LOAD = LuaScript("""
local secret = redis.call('GET', KEYS[1])
if not secret then
  secret = ARGV[1]
  if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('SET', KEYS[2], '', 'EX', ARGV[2]) end
  redis.call('SET', KEYS[1], secret)
end
return {secret, redis.call('TTL', KEYS[2])}
""")
"""Return the secret, and for how many seconds from now earlier ids count; create it at first."""


@dataclass(frozen=True)
class EventIds:
    """`previous_until_s`: until when, in s since 1970, ids that needed no secret may be in use."""

    secret: bytes = field(repr=False)
    previous_until_s: float = 0.0

    @classmethod
    def load(cls, client: "redis.Redis") -> Self:
        """Read the secret from Redis; raises redis.RedisError."""
        names = [keys.EVENT_ID_SECRET, keys.PREVIOUS_EVENT_IDS, keys.FENCE]
        secret, ttl_s = LOAD.run(client, names, [secrets.token_hex(32), UPGRADE_S])
        return cls(bytes(secret), time.time() + ttl_s)

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

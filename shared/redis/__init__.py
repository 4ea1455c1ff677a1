"""Redis: connections, the durability check, names of keys, Lua scripts."""

from shared.redis.client import (
    CONNECTION_ERRORS,
    check_durability,
    connect,
    connect_async,
    connect_durable,
    explain_outage,
    is_transient,
)
from shared.redis.replication import NotReplicatedError

__all__ = [
    "CONNECTION_ERRORS",
    "NotReplicatedError",
    "check_durability",
    "connect",
    "connect_async",
    "connect_durable",
    "explain_outage",
    "is_transient",
]

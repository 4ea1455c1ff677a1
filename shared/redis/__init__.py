"""Redis: connections, the durability check, names of keys, Lua scripts."""

from shared.redis.client import (
    CONNECTION_ERRORS,
    check_durability,
    connect,
    connect_async,
    connect_durable,
    is_transient,
)

__all__ = [
    "CONNECTION_ERRORS",
    "check_durability",
    "connect",
    "connect_async",
    "connect_durable",
    "is_transient",
]

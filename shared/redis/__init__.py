"""Redis: connecting to one that keeps what it confirms, names of keys, Lua scripts."""

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

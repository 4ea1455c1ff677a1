"""Checks of Redis: reachable, durable, writable, what its user may do, its clock."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import redis
from redis.exceptions import NoPermissionError

from shared import processes, settings
from shared.errors import ConfigurationError
from shared.redis import check_durability, connect, explain_outage, is_transient, keys
from shared.redis.replication import check_writable
from workers.cli.findings import Finding

MAX_APART_S = 10.0
"""How far clocks may be apart: leases, tokens and dates of messages are judged by them."""
PERMITTED: tuple[tuple[str | int, ...], ...] = (
    ("HSET", keys.RIGHTS_CHECK, "field", 1),
    ("HGETALL", keys.RIGHTS_CHECK),
    ("PEXPIRE", keys.RIGHTS_CHECK, 60_000),
    ("GET", keys.WRITE_CHECK),
    ("LMOVE", keys.RIGHTS_CHECK + ":list", keys.RIGHTS_CHECK + ":list", "LEFT", "RIGHT"),
    ("RPUSH", keys.RIGHTS_CHECK + ":list", 1),
    ("BLPOP", keys.RIGHTS_CHECK + ":list", 1),
    ("SADD", keys.RIGHTS_CHECK + ":set", 1),
    ("ZADD", keys.RIGHTS_CHECK + ":ranks", 1, 1),
    ("ZRANGEBYSCORE", keys.RIGHTS_CHECK + ":ranks", 0, 1),
    ("XADD", keys.RIGHTS_CHECK + ":stream", "*", "field", 1),
    ("EVAL", "return 1", 0),
    ("SCRIPT", "LOAD", "return 1"),
    ("PUBSUB", "NUMSUB", keys.TAIL),
    ("PUBLISH", keys.RIGHTS_CHECK, ""),
    (
        "DEL",
        keys.RIGHTS_CHECK,
        *(f"{keys.RIGHTS_CHECK}:{name}" for name in ("list", "set", "ranks", "stream")),
    ),
)
"""A command of each kind that the pipeline uses, on keys of its own."""
SEE = "see docs/deploying.md, Redis"


def check_redis() -> Iterator[Finding]:
    """Check that Redis answers, keeps what it confirms, and takes writes."""
    try:
        given = settings.load_settings(settings.RedisSettings)
        replicas = settings.load_settings(settings.EngineSettings).wpp_redis_replicas
    except ConfigurationError:
        yield Finding("redis", "skipped", "its settings are wrong")
        return
    yield from _check(connect(given.redis_url), replicas, allow=given.wpp_allow_volatile_redis)


def _check(client: "redis.Redis", replicas: int, *, allow: bool) -> Iterator[Finding]:
    try:
        warnings = check_durability(client, allow=allow)
        check_writable(client, replicas)
    except (ConfigurationError, redis.RedisError) as error:
        yield _explain(error)
        return
    for warning in warnings:
        yield Finding("redis", "warning", warning, SEE)
    if not warnings:
        yield Finding("redis", "ok", "durable and writable")


def check_shard(name: str, client: "redis.Redis") -> Iterator[Finding]:
    """Check the Redis of another shard, and the processes that work for it."""
    replicas = settings.load_settings(settings.EngineSettings).wpp_redis_replicas
    allow = settings.load_settings(settings.RedisSettings).wpp_allow_volatile_redis
    checks = (partial(_check, replicas=replicas, allow=allow), check_rights, check_redis_clock)
    for finding in (each for check in checks for each in check(client)):
        yield replace(finding, check=f"{finding.check} {name}")
    for fault in processes.find_faults(client):
        yield Finding(f"processes {name}", "fault", fault, f"start it with WPP_SHARD={name}")


def list_other_shards() -> dict[str, "redis.Redis"]:
    """Return clients of the shards that are not this process's, by name."""
    given = settings.load_settings(settings.RedisSettings)
    return {name: connect(url) for name, url in given.shards.items() if name != given.shard}


def _explain(error: Exception) -> Finding:
    match error:
        case redis.RedisError() if is_transient(error) and not isinstance(
            error, redis.AuthenticationError
        ):
            reason = f"{explain_outage(error)}: {error}"
            action = "start it, free memory or disk, bring back replicas; is REDIS_URL right?"
        case redis.RedisError():
            reason = f"Redis refuses the user of REDIS_URL: {error}"
            action = f"correct user and password, and permit +info +set ~{keys.PREFIX}*; {SEE}"
        case _:
            reason, action = str(error), SEE
    return Finding("redis", "fault", reason, action)


def check_rights(client: "redis.Redis") -> Iterator[Finding]:
    """Try a command of each kind, so that a limited user is no surprise at the first event."""
    pipe = client.pipeline(transaction=False)
    for command in PERMITTED:
        pipe.execute_command(*command)
    replies = pipe.execute(raise_on_error=False)
    refused = sorted(
        {
            str(command[0]).lower()
            for command, reply in zip(PERMITTED, replies, strict=True)
            if isinstance(reply, NoPermissionError)
        }
    )
    if refused:
        rights = " ".join(f"+{name}" for name in refused)
        detail = f"the user of REDIS_URL may not use {', '.join(refused)} on {keys.PREFIX}*"
        action = f"ACL SETUSER its name ~{keys.PREFIX}* &{keys.PREFIX}* {rights}"
        yield Finding("redis rights", "fault", detail, action)
    else:
        yield Finding("redis rights", "ok", "every kind of command is permitted")


def check_redis_clock(client: "redis.Redis") -> Iterator[Finding]:
    asked_s = time.time()
    at_s = processes.now_ms(client) / 1000
    yield compare_clocks("Redis", at_s, asked_s, time.time())


def compare_clocks(of: str, at_s: float, asked_s: float, answered_s: float) -> Finding:
    """Compare a clock, read at some moment between two of ours, with ours."""
    apart_s = max(asked_s - at_s, at_s - answered_s, 0.0)
    if apart_s <= MAX_APART_S:
        return Finding("clocks", "ok", f"that of {of} agrees with this machine")
    detail = f"the clocks of {of} and of this machine are {apart_s:.0f} s apart"
    return Finding("clocks", "fault", detail, "let both follow a time server (NTP)")


def open_redis() -> "redis.Redis":
    return connect(settings.load_settings(settings.RedisSettings).redis_url)

"""Rate limits: the pace of a number that the platform limits with 429.

A 429 closes the number's gate for its Retry-After. After it a single message tests the limit. When
that is taken, the number goes on at one message a second, and the rate grows with each message
taken. Each further 429 lowers it to seven tenths. After 10 minutes without a 429, or at 100 a
second, the number is free again. All processes share the rate through Redis (`rate_limits.lua`).

A number without a limit costs nothing: a process reads the set of limited numbers once a second. A
process that has not read it yet finds the number's gate closed, for a second at least.
"""

import random
import threading
import time
from weakref import WeakKeyDictionary

import redis
import structlog

from shared.errors import LimitedError
from shared.events import SendEvent
from shared.lanes.scripts import load_with_clock
from shared.redis import keys

SCRIPT = load_with_clock("workers.send", "rate_limits.lua")
READ_INTERVAL_S = 0.8
"""How old a process' knowledge of the limited numbers is; less than the shortest Retry-After."""

log = structlog.get_logger()


class LimitedNumbers:
    """The integrations that are limited now, as this process knows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: frozenset[str] = frozenset()
        self._read_at = -READ_INTERVAL_S

    def contains(self, client: "redis.Redis", integration_id: str) -> bool:
        with self._lock:
            is_stale = time.monotonic() - self._read_at >= READ_INTERVAL_S
            if is_stale:
                self._read_at = time.monotonic()
        if is_stale:
            members = client.smembers(keys.RATE_LIMITED)
            self._ids = frozenset(member.decode() for member in members)  # type: ignore[union-attr]
        return integration_id in self._ids

    def add(self, integration_id: str) -> None:
        self._ids |= {integration_id}


_limited_numbers: WeakKeyDictionary["redis.Redis", LimitedNumbers] = WeakKeyDictionary()


def acquire(client: "redis.Redis", event: SendEvent) -> float:
    """Return the seconds that a message waits for the rate of its number; 0: send it now."""
    if not _find_limited(client).contains(client, str(event.integration_id)):
        return 0.0
    wait_s = _run(client, event, "acquire") / 1000
    return wait_s * random.uniform(1.0, 1.1)  # noqa: S311 - spreads the claims that follow


def report_refused(client: "redis.Redis", event: SendEvent, error: LimitedError) -> None:
    """Lower the rate of a message's number, because the platform answered 429."""
    _find_limited(client).add(str(event.integration_id))
    rate = _run(client, event, "refuse", int(error.retry_after_s * 1000)) / 1000
    if rate:
        log.warning(
            "send.rate_limited",
            integration_id=str(event.integration_id),
            messages_per_s=rate,
            retry_after_s=error.retry_after_s,
        )


def report_taken(client: "redis.Redis", event: SendEvent) -> None:
    """Raise the rate of a message's number, if it is limited: the platform did not refuse it.

    While Redis is away the rate stays as it is. Nothing is raised: the message may have gone out,
    and an error here would make it look unsent.
    """
    try:
        if not _find_limited(client).contains(client, str(event.integration_id)):
            return
        ended = _run(client, event, "succeed")
    except redis.RedisError as error:
        log.warning(
            "send.rate_not_raised", integration_id=str(event.integration_id), error=str(error)
        )
        return
    if ended:
        log.info("send.rate_limit_ended", integration_id=str(event.integration_id))


def _find_limited(client: "redis.Redis") -> LimitedNumbers:
    return _limited_numbers.setdefault(client, LimitedNumbers())


def _run(client: "redis.Redis", event: SendEvent, operation: str, *arguments: int) -> int:
    names = [
        keys.rate_limit(event.integration_id),
        keys.RATE_LIMITED,
        keys.rate_place(event.id),
        keys.LANE_CLOCK,
    ]
    return int(SCRIPT.run(client, names, [operation, str(event.integration_id), *arguments]))

"""What happened in each of the last 60 minutes: by kind of event, and by organization.

Each process counts the messages of organizations in memory, and its pulse adds the sums to the hash
of the minute: no message costs a round trip. Once a minute a clock adds an entry to a stream that
is as long as an hour (workers/clock/minutes.py). Times are those of Redis, in ms since 1970.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import redis
from pydantic import BaseModel, ConfigDict

from shared.redis import keys

MINUTE_MS = 60_000
MINUTES = 60
MAX_ENTRIES = MINUTES + 1
"""Counts of a minute are the difference of two entries."""
MAX_ORGANIZATIONS = 40
"""Organizations that an entry names: it has at most 4.5 KB then."""
KEPT_S = 300
MAX_PENDING = 10_000
"""Sums that a process keeps while Redis is away; further organizations are not counted then."""

TRANSITION_COUNTS = {
    "message.accepted": "accepted",
    "message.sent": "sent",
    "message.failed": "failed",
    "message.expired": "failed",
    "message.unknown": "unknown",
}
"""Transition → what it counts as, for the organization of its message."""

_lock = threading.Lock()
_pending: dict[str, int] = {}


class Totals(NamedTuple):
    """What was counted of a kind since the first start; `done` is None where nothing counts it."""

    accepted: float = 0
    done: float | None = None
    failed: float = 0
    unknown: float = 0


class Activity(NamedTuple):
    """Messages of an organization: counts of a minute, and what waits at its end."""

    accepted: int = 0
    sent: int = 0
    failed: int = 0
    unknown: int = 0
    waiting: int = 0
    oldest_s: float = 0.0


class Minute(BaseModel):
    """An entry of the stream: the state at the end of a minute, by kind and by organization."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at_ms: int
    totals: dict[str, Totals]
    waiting: dict[str, int]
    oldest_s: dict[str, float]
    organizations: dict[str, Activity]
    others: Activity
    """All further organizations together."""


def add_up(found: Iterable[Activity]) -> Activity:
    """Return several together; the oldest message is the oldest of all."""
    parts = list(found)
    return Activity(
        accepted=sum(each.accepted for each in parts),
        sent=sum(each.sent for each in parts),
        failed=sum(each.failed for each in parts),
        unknown=sum(each.unknown for each in parts),
        waiting=sum(each.waiting for each in parts),
        oldest_s=max((each.oldest_s for each in parts), default=0.0),
    )


def count_transition(event: str, fields: Mapping[str, Any]) -> None:
    """Count a transition of a message: a listener of `shared.transitions`."""
    what = TRANSITION_COUNTS.get(event)
    organization_id = fields.get("organization_id")
    if what and organization_id:
        _add(f"{organization_id}|{what}", 1)


def _add(field: str, amount: int) -> None:
    with _lock:
        if field in _pending or len(_pending) < MAX_PENDING:
            _pending[field] = _pending.get(field, 0) + amount


def flush(client: "redis.Redis", at_ms: int) -> None:
    """Add what was counted since to the minute of a time; after an error, the next flush adds it.

    Raises:
        redis.RedisError: Redis did not answer, or has no memory left.
    """
    with _lock:
        taken = dict(_pending)
        _pending.clear()
    if not taken:
        return
    key = keys.activity(at_ms // MINUTE_MS)
    pipe = client.pipeline(transaction=True)
    for field, amount in taken.items():
        pipe.hincrby(key, field, amount)
    pipe.expire(key, KEPT_S)
    try:
        pipe.execute()
    except redis.RedisError:
        for field, amount in taken.items():
            _add(field, amount)
        raise


def read_counts(client: "redis.Redis", end_ms: int) -> dict[str, Activity]:
    """Return what all processes counted by organization in the minute that ended at a time."""
    stored: Any = client.hgetall(keys.activity(end_ms // MINUTE_MS - 1))
    found: dict[str, Activity] = {}
    for field, amount in stored.items():
        organization_id, _, what = field.decode().partition("|")
        if what in Activity._fields:
            before = found.get(organization_id, Activity())
            found[organization_id] = before._replace(**{what: int(amount)})
    return found


def add_minute(client: "redis.Redis", minute: Minute) -> bool:
    """Add an entry; False: there is one of this minute, or of a later one.

    Raises:
        redis.RedisError: Redis did not answer, or has no memory left.
    """
    entry: dict[Any, Any] = {"minute": minute.model_dump_json()}
    try:
        client.xadd(keys.MINUTES, entry, f"{minute.at_ms}-0", maxlen=MAX_ENTRIES, approximate=False)
    except redis.ResponseError as error:
        if "equal or smaller" not in str(error):
            raise
        return False
    return True


def find_last(client: "redis.Redis") -> int:
    """Return the time of the newest entry, 0 without any."""
    found: Any = client.xrevrange(keys.MINUTES, count=1)
    return int(found[0][0].partition(b"-")[0]) if found else 0


def read_minutes(client: "redis.Redis") -> list[Minute]:
    """Return the entries of the last hour, the oldest first; a minute without a clock has none."""
    stored: Any = client.xrevrange(keys.MINUTES, count=MAX_ENTRIES)
    return [Minute.model_validate_json(entry[b"minute"]) for _, entry in reversed(stored)]

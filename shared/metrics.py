"""Counters and histograms of all processes, added up in Redis, so that a single scrape shows them.

A process counts in memory (`count`, `observe`), and its pulse adds the sums to Redis every few
seconds (`flush`). A restart loses no more than these seconds, and sets nothing back to zero.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from shared.redis import keys

FAST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0)


@dataclass(frozen=True)
class Counted:
    """A counter, or a histogram of seconds where it has buckets."""

    text: str
    label: str | None = None
    buckets: tuple[float, ...] = ()


COUNTED: dict[str, Counted] = {
    "wpp_events_accepted_total": Counted("Events that have their place in a lane", "kind"),
    "wpp_events_duplicate_total": Counted("Requests that named an event accepted before", "kind"),
    "wpp_events_refused_total": Counted("Events for which there was no room", "kind"),
    "wpp_messages_scheduled_total": Counted("Messages that were accepted for a later date"),
    "wpp_messages_cancelled_total": Counted("Messages that were cancelled while they waited"),
    "wpp_messages_sent_total": Counted("Messages that the platform took"),
    "wpp_messages_failed_total": Counted("Messages that ended as failed"),
    "wpp_messages_expired_total": Counted("Messages that could not be sent in time"),
    "wpp_messages_unknown_total": Counted("Messages whose delivery became unknown"),
    "wpp_messages_resolved_total": Counted("Unknown messages that were settled"),
    "wpp_messages_given_up_total": Counted("Messages that the platform took, and gave up later"),
    "wpp_messages_received_total": Counted("Messages of customers"),
    "wpp_events_dead_lettered_total": Counted(
        "Events other than messages that became dead letters", "kind"
    ),
    "wpp_callback_posts_total": Counted("Posts of events to callbacks, by result", "result"),
    "wpp_number_changes_total": Counted("Numbers that went up, degraded or down", "to"),
    "wpp_keys_refused_total": Counted("API keys that the platform refused"),
    "wpp_gates_closed_total": Counted("Gates that closed"),
    "wpp_leases_expired_total": Counted("Events that were taken over from a vanished worker"),
    "wpp_organization_pauses_total": Counted("Times that the recorder set an organization aside"),
    "wpp_outcomes_recorded_total": Counted("Outcomes that were written to Supabase"),
    "wpp_outcomes_refused_total": Counted("Outcomes that Supabase refused"),
    "wpp_redis_reconnects_total": Counted(
        "Times that a process replaced its connections to a Redis that accepts no writes", "cause"
    ),
    "wpp_token_mints_total": Counted("Requests for a token, by result", "result"),
    "wpp_message_sent_seconds": Counted(
        "From the acceptance of a message, or its date, until the platform took it", buckets=LONG_S
    ),
    "wpp_outcome_recorded_seconds": Counted(
        "From an outcome, such as the acceptance of a message, to its row", buckets=LONG_S
    ),
    "wpp_webhook_handled_seconds": Counted(
        "From the arrival of a webhook event until it was handled", buckets=LONG_S
    ),
    "wpp_token_mint_seconds": Counted("Duration of a request for a token", buckets=FAST_S),
}
"""Everything that is counted. docs/metrics.md adds what is measured at a scrape."""

TRANSITION_COUNTERS: dict[str, tuple[str, str | None]] = {
    "message.scheduled": ("wpp_messages_scheduled_total", None),
    "message.cancelled": ("wpp_messages_cancelled_total", None),
    "message.sent": ("wpp_messages_sent_total", None),
    "message.failed": ("wpp_messages_failed_total", None),
    "message.expired": ("wpp_messages_expired_total", None),
    "message.unknown": ("wpp_messages_unknown_total", None),
    "message.resolved": ("wpp_messages_resolved_total", None),
    "message.given_up": ("wpp_messages_given_up_total", None),
    "message.received": ("wpp_messages_received_total", None),
    "event.dead_lettered": ("wpp_events_dead_lettered_total", "kind"),
    "number.up": ("wpp_number_changes_total", "up"),
    "number.degraded": ("wpp_number_changes_total", "degraded"),
    "number.down": ("wpp_number_changes_total", "down"),
    "key.refused": ("wpp_keys_refused_total", None),
    "gate.closed": ("wpp_gates_closed_total", None),
    "claim.lease_expired": ("wpp_leases_expired_total", None),
    "organization.set_aside": ("wpp_organization_pauses_total", None),
}
"""Transition → its counter, and the value of the label: a field of the transition, or this word."""

_lock = threading.Lock()
_pending: dict[str, float] = defaultdict(float)


def count(name: str, value: str | None = None, amount: float = 1) -> None:
    """Add to a counter; `value` is that of its label."""
    assert name in COUNTED, name  # noqa: S101 - a misspelled name would be lost in silence
    with _lock:
        _pending[f"{name}|{value}" if value is not None else name] += amount


def observe(name: str, seconds: float) -> None:
    """Add a duration to a histogram; a clock that is behind counts as 0."""
    seconds = max(0.0, seconds)
    buckets = COUNTED[name].buckets
    place = bisect_left(buckets, seconds)
    limit = f"{buckets[place]:g}" if place < len(buckets) else "+Inf"
    with _lock:
        _pending[f"{name}|{limit}"] += 1
        _pending[f"{name}|sum"] += seconds


def count_transition(event: str, fields: Mapping[str, Any]) -> None:
    """Count a transition, where it has a counter: a listener of `shared.transitions`."""
    if event in TRANSITION_COUNTERS:
        name, label = TRANSITION_COUNTERS[event]
        count(name, str(fields.get(label, label)) if label else None)


def flush(client: "redis.Redis") -> None:
    """Add to Redis what was counted since; after an error, the next flush adds it.

    Raises:
        redis.RedisError: Redis did not answer, or has no memory left.
    """
    with _lock:
        taken = dict(_pending)
        _pending.clear()
    if not taken:
        return
    pipe = client.pipeline(transaction=True)
    for field, amount in taken.items():
        pipe.hincrbyfloat(keys.METRICS, field, amount)
    try:
        pipe.execute()
    except redis.RedisError:
        with _lock:
            for field, amount in taken.items():
                _pending[field] += amount
        raise


def read(client: "redis.Redis") -> Iterator[tuple[str, dict[str, float]]]:
    """Return each name of `COUNTED` with its values: by label, `""` without a label."""
    stored: Any = client.hgetall(keys.METRICS)
    values: dict[str, dict[str, float]] = {name: {} for name in COUNTED}
    for field, amount in stored.items():
        name, _, label = field.decode().partition("|")
        if name in values:
            values[name][label] = float(amount)
    yield from values.items()

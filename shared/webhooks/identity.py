"""Identify an event: its deliveries have the same identity, distinct events never do."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.webhooks.classify import (
    MESSAGE_EVENTS,
    SESSION_EVENTS,
    TARGETING_EVENTS,
    ClassifiedEvent,
)
from shared.webhooks.fields import find_value
from shared.webhooks.message_ids import read_listed_ids, read_message_ids
from shared.webhooks.vocabulary import parse_status

RETRY_WINDOW_S = 120
"""Equal events without an id and a time are the same event within this window only."""

_VOLATILE = frozenset(
    {"attempt", "attempts", "retry", "retries", "retrycount", "retry_count", "deliveryattempt"}
)
"""Fields that the platform may change between deliveries."""
_MAX_LEVELS = 64
_LONG_TEXT = 4096
_UNNAMED_EVENTS = SESSION_EVENTS | TARGETING_EVENTS | {"unknown", "sla", "notice"}
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_RECURRING_EVENTS = SESSION_EVENTS | TARGETING_EVENTS


class EventIdentity(NamedTuple):
    """`previous`: the identity of an equal event in the retry window before, where time decides."""

    value: str
    previous: str | None = None


def identify_event(event: ClassifiedEvent) -> EventIdentity:
    """Return the identity of an event: its id, type, status and a digest of its content.

    The digest counts even beside an id: the platform may count its event ids from 1 again after a
    restart, and a second message under a known id is for the database to compare. Without an id,
    the platform's time tells two equal texts apart; without a time, the retry window does.

    A session or a reaction may return within seconds to what it was. Without an event id and a
    time, each of these is an event of its own: applying it twice does no harm.
    """
    payload = event.payload
    names = payload.event_id or _list_message_ids(event)
    status = parse_status(find_value(payload.fields, "status", "ack"))
    value = f"{names or '-'}:{event.declared_type}:{status or '-'}:{_digest(payload.raw)}"
    if names or event.platform_time:
        return EventIdentity(value)
    accepted_s = event.accepted_at.timestamp()
    if event.declared_type in _RECURRING_EVENTS:
        return EventIdentity(f"{value}:{accepted_s}")
    window = int(accepted_s) // RETRY_WINDOW_S
    return EventIdentity(f"{value}:{window}", f"{value}:{window - 1}")


def _list_message_ids(event: ClassifiedEvent) -> str | None:
    """Return the ids of the message that the event is about, unless its target's ids may recur."""
    if event.declared_type in _UNNAMED_EVENTS:
        return None
    if event.declared_type in MESSAGE_EVENTS:
        return ",".join(read_message_ids(event.payload).all) or None
    listed = read_listed_ids(event.payload)
    return ",".join(listed[0].all) if listed else None


def _digest(raw: Mapping[str, Any]) -> str:
    stable = _CANONICAL.encode(_stabilize("", raw, 0))
    return hashlib.sha256(stable.encode()).hexdigest()[:32]


def _stabilize(name: str, value: Any, level: int) -> Any:
    """Return a value without what changes between deliveries, and with long texts as digests."""
    if level > _MAX_LEVELS:
        return type(value).__name__
    if isinstance(value, dict):
        return {
            str(key): _stabilize(str(key), item, level + 1)
            for key, item in value.items()
            if str(key).lower() not in _VOLATILE
        }
    if isinstance(value, list):
        return [_stabilize(name, item, level + 1) for item in value]
    if isinstance(value, str):
        return _stabilize_text(name, value)
    if isinstance(value, float | bool | None):
        return value
    return hex(value) if isinstance(value, int) else str(value)


def _stabilize_text(name: str, value: str) -> str:
    if name.lower().endswith("url"):
        value = value.partition("?")[0]  # each delivery signs its links to files anew
    if len(value) <= _LONG_TEXT:
        return value
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()

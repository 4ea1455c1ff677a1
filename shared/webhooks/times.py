"""Read times: numbers in any unit, texts, protobuf's objects; and when an event happened."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

TIME_FIELDS = (
    "timestamp",
    "t",
    "messageTimestamp",
    "offerTime",
    "senderTimestampMs",
    "time",
    "sentAt",
    "date",
)
_NUMBER = re.compile(r"[0-9.]{1,20}n?")
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""A number from the first on is not in seconds (1e11: the year 5138), but divided by the second."""
_MAX_SECONDS = 1e11
_MAX_TEXT = 64
_EPOCH = datetime(2009, 1, 1, tzinfo=UTC)
"""WhatsApp's first year: an earlier time is a mistake."""
_CLOCK_SKEW = timedelta(minutes=5)


def find_time(fields: Mapping[str, Any], created: Any, accepted_at: datetime) -> datetime | None:
    """Return when an event happened by the platform's clock, or None without a plausible time."""
    for name in TIME_FIELDS:
        if (value := fields.get(name)) is not None and (
            at := parse_plausible(value, accepted_at)
        ) is not None:
            return at
    return parse_plausible(created, accepted_at) if created is not None else None


def parse_plausible(value: Any, accepted_at: datetime) -> datetime | None:
    """Return a time that a message can have: not before WhatsApp, and not in the future."""
    at = parse_timestamp(value)
    return at if at and _EPOCH <= at <= accepted_at + _CLOCK_SKEW else None


def parse_timestamp(value: Any) -> datetime | None:
    """Return a time given as a number, a text or an object of protobuf.

    Numbers are in seconds, milliseconds, microseconds or nanoseconds since 1970. Texts hold such a
    number, or a date in ISO 8601 or RFC 2822.
    """
    if isinstance(value, dict):
        value = _join_parts(value)
    if isinstance(value, str):
        value = value.strip()
        if not _NUMBER.fullmatch(value):
            return _parse_date(value)
        value = value.removesuffix("n")
    try:
        number = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        return None
    for limit, divisor in _UNITS:
        if number > limit:
            number /= divisor
            break
    return datetime.fromtimestamp(number, UTC) if 0 < number < _MAX_SECONDS else None


def _join_parts(parts: Mapping[str, Any]) -> Any:
    """Return the number in protobuf's Long or Timestamp, or in MongoDB's JSON."""
    low, high = parts.get("low"), parts.get("high")
    if isinstance(low, int) and isinstance(high, int):
        return (high << 32) + (low & 0xFFFFFFFF) if abs(high) < 1 << 31 else None
    for name in ("seconds", "_seconds", "$numberLong", "$date"):
        if (value := parts.get(name)) is not None and not isinstance(value, dict):
            return value
    return None


def _parse_date(text: str) -> datetime | None:
    if len(text) > _MAX_TEXT:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)

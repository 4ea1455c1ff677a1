"""Read single values of an event: texts, ids, flags, times. Values of a wrong type give None.

No function raises: an event may miss any field, or hold any JSON value in it.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_ID = 256
"""Characters. The longest ids seen have 60."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and half surrogates: neither UTF-8 nor Postgres can hold them."""
_INT64 = 1 << 63
_MILLISECONDS_FROM = 1e11
_MICROSECONDS_FROM = 1e14
"""A larger number is no time in seconds (year 5138), respectively milliseconds."""


def find_value(fields: Mapping[str, Any], *names: str) -> Any:
    """Return the first of the named fields that is not empty, or None."""
    for name in names:
        value = fields.get(name)
        if value not in (None, "", [], {}):
            return value
    return None


def find_object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object in a field, or an empty object."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def parse_text(value: Any) -> str | None:
    """Return a text without surrounding space, or a number as text; None where it is blank."""
    if isinstance(value, str):
        return scrub_text(value).strip() or None
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64
    return str(value) if is_number else None


def parse_id(value: Any) -> str | None:
    """Return an id: a text, a number, or WhatsApp's object `{"_serialized": …}`."""
    if value is None:
        return None
    if isinstance(value, dict):
        value = find_value(value, "_serialized", "id")
    text = parse_text(value)
    return text if text and len(text) <= MAX_ID else None


def parse_flag(value: Any) -> bool:
    """Return whether a flag is set: true, 1, "1" or "true"."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1")
    return value is True or value == 1


def parse_timestamp(value: Any) -> datetime | None:
    """Return a time given in seconds, milliseconds or microseconds, or in ISO 8601."""
    if isinstance(value, str) and not re.fullmatch(r"\s*[0-9.]{1,20}\s*", value):
        return _parse_iso(value)
    try:
        number = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        return None
    if number > _MICROSECONDS_FROM:
        number /= 1e6
    elif number > _MILLISECONDS_FROM:
        number /= 1e3
    return datetime.fromtimestamp(number, UTC) if 0 < number < _MILLISECONDS_FROM else None


def scrub_text(value: str) -> str:
    """Replace the characters that Postgres cannot store by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", value) if not value.isascii() or "\x00" in value else value


def scrub_number(value: Any) -> Any:
    """Return a number that JSON and Postgres can hold, or None; return any non-number as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) >= _INT64:
        return float(value) if abs(value) < 1 << 1000 else None
    return value


def _parse_iso(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)

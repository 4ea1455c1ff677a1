"""Read single values of an event: texts, ids, flags. Values of a wrong type give None.

No function raises: an event may miss any field, or hold any JSON value in it.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MAX_ID = 256
"""Characters. The longest ids seen have 60."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and half surrogates: neither UTF-8 nor Postgres can hold them."""
_INT64 = 1 << 63
_MAX_NAME = 64


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
        if not value.isascii() or "\x00" in value:
            value = _UNSTORABLE.sub("\ufffd", value)
        return value.strip() or None
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64
    return str(value) if is_number else None


def parse_id(value: Any) -> str | None:
    """Return an id: a text, a number, or WhatsApp's object `{"_serialized": …}`."""
    if value is None:
        return None
    if isinstance(value, dict):
        inner = find_value(value, "_serialized", "id", "ID")
        value = inner.get("_serialized") if isinstance(inner, dict) else inner
    text = parse_text(value)
    return text if text and len(text) <= MAX_ID else None


def parse_flag(value: Any) -> bool:
    """Return whether a flag is set: true, 1, "1" or "true"."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1")
    return value is True or value == 1


def squeeze_name(name: str) -> str:
    """Return a field's name in lower case without underscores: sender_pn, senderPn are equal."""
    return _squeeze(name) if len(name) <= _MAX_NAME else name


def spell_in_camel_case(name: str) -> str:
    """Return a field's name as JavaScript spells it: edited_message_id is editedMessageId."""
    return _camel(name) if len(name) <= _MAX_NAME else name


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


@lru_cache(maxsize=4096)
def _squeeze(name: str) -> str:
    return name.replace("_", "").lower()


@lru_cache(maxsize=4096)
def _camel(name: str) -> str:
    first, *further = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in further) if first else name

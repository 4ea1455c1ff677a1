"""Samples of payloads for an operator: their shape without their values.

Field names and words of the protocol stay. Of other texts, each letter becomes x and each digit 0,
so that a phone, an id or a time is recognized by its form.
"""

import re
from typing import Any

from shared.webhooks.sessions import SESSION_WORDS, STATUS_FIELD_TYPES
from shared.webhooks.vocabulary import CONTENT_TYPES, EVENT_TYPES, STATUSES, normalize_word

MAX_CHARACTERS = 80
MAX_ITEMS = 3
"""Of a list: further items are left out."""

_WORDS = {*CONTENT_TYPES, *EVENT_TYPES, *STATUS_FIELD_TYPES, *SESSION_WORDS, *STATUSES}
_MAX_WORD = 48
_WORD_FIELDS = frozenset({"type", "event", "kind", "subtype", "status", "state", "mimetype"})
_WORD = re.compile(r"(?!.*[0-9]{3})[A-Za-z][\w./;= -]{0,47}", re.ASCII)
_KEPT = re.compile(
    r"^(?:true|false)_|@(?:c\.us|s\.whatsapp\.net|lid|g\.us|broadcast|newsletter)(?![A-Za-z0-9.])"
)
_FIELD_NAME = re.compile(r"(?!.*[0-9]{4})[A-Za-z_][\w.-]{0,47}", re.ASCII)


def mask_values(value: Any, name: str = "") -> Any:
    """Return a JSON value without what it says: its form, and the protocol's words."""
    if isinstance(value, dict):
        return {_mask_name(key): mask_values(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [mask_values(item, name) for item in value[:MAX_ITEMS]]
    if isinstance(value, str):
        return _mask_text(value, name)
    if isinstance(value, float):
        return float(_mask_number(int(value)))
    return _mask_number(value) if type(value) is int else value


def _mask_number(number: int) -> int:
    """Return a number with as many digits; a single digit stays, as an ack or a version."""
    digits = len(str(abs(number)))
    return number if digits == 1 else (10 ** (digits - 1)) * (1 if number > 0 else -1)


def _mask_name(name: str) -> str:
    return name if _FIELD_NAME.fullmatch(name) else _mask_text(name, "")


def _mask_text(text: str, name: str) -> str:
    is_word = name.lower() in _WORD_FIELDS and _WORD.fullmatch(text)
    if is_word or (len(text) <= _MAX_WORD and normalize_word(text) in _WORDS):
        return text
    parts = []
    end = 0
    for kept in _KEPT.finditer(text):
        parts += [_mask_part(text[end : kept.start()]), kept[0]]
        end = kept.end()
    masked = "".join([*parts, _mask_part(text[end:])])
    return masked if len(masked) <= MAX_CHARACTERS else f"{masked[:MAX_CHARACTERS]}…"


def _mask_part(text: str) -> str:
    return "".join(
        "0" if char.isdigit() else "x" if char.isalpha() or ord(char) > 127 else char
        for char in text
    )

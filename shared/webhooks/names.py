"""Find the name that a sender chose."""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from shared.webhooks.fields import find_object, parse_text

MAX_NAME = 255
_NAME_FIELDS = (
    *("notifyName", "pushName", "pushname", "senderName", "notify_name", "push_name"),
    *("sender_name", "fromName", "verifiedName"),
)
_PERSON_FIELDS = ("pushname", "pushName", "name", "formattedName", "shortName", "verifiedName")
_PERSON_OBJECTS = ("sender", "contact", "profile")
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\U0001d159")
"""Letters and symbols that are drawn as nothing: fillers of Hangul, Braille's blank."""

_VISIBLE = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "No", "Sc", "Sk", "Sm", "So"})
"""Unicode's letters and symbols, emoji among them. Marks alone are drawn on nothing."""


def find_sender_name(fields: Mapping[str, Any]) -> str | None:
    """Return the display name that the sender chose, or None."""
    return next(filter(None, map(clean_name, _list_names(fields))), None)


def clean_name(value: Any) -> str | None:
    """Return a name without the blanks around it, or None where no letter or symbol is visible.

    Digits and ASCII punctuation alone are a phone number, and no name.
    """
    text = parse_text(value)
    if text is None:
        return None
    if text.isascii():
        return text[:MAX_NAME] if any(map(str.isalpha, text)) else None
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    text = text[start:end]
    return text[:MAX_NAME] if any(map(_is_visible, text)) else None


def _is_blank(char: str) -> bool:
    return char.isspace() or char in _BLANK or unicodedata.category(char)[0] in "ZC"


def _is_visible(char: str) -> bool:
    if char.isascii():
        return char.isalpha()
    return char not in _BLANK and unicodedata.category(char) in _VISIBLE


def _list_names(fields: Mapping[str, Any]) -> Iterator[Any]:
    for name in _NAME_FIELDS:
        if name in fields:
            yield fields[name]
    for holder in _PERSON_OBJECTS:
        if person := find_object(fields, holder):
            for name in _PERSON_FIELDS:
                yield person.get(name)

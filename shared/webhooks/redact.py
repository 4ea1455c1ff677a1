"""Redact a payload for the log: texts stay, files and secrets go, and its size is bounded."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from shared.webhooks.attachments import is_file_data
from shared.webhooks.content import TEXT_FIELDS
from shared.webhooks.fields import parse_text, scrub_number, scrub_text
from shared.webhooks.vocabulary import CONTENT_TYPES, normalize_word

MAX_BYTES = 131_072
SHORTENED = "characters omitted]"
"""The end of a text that was cut."""

_SECRET = re.compile(
    r"api_?key|token|secret|password|authorization|cookie|jwt|media_?key", re.IGNORECASE
)
_PAIRING_CODES = frozenset({"qr", "qrcode", "qr_code", "urlcode", "pairingcode", "phonecode"})
"""A person who scans the code controls the account."""
_FILES = frozenset({"base64", "mediabase64", "thumbnail", "jpegthumbnail"})
_TEXTS = frozenset({*TEXT_FIELDS, "newtext", "newbody", "newmessage"})
_LIMITS = ((65_536, 1_000), (2_048, 200), (128, 20))
"""Characters of a text, values in all. The first pair that fits MAX_BYTES is taken."""
_MAX_LEVELS = 32
_MAX_NAME = 128
_SHORT_FILE = 64
_CHARACTER_BYTES = 12
"""An emoji takes as many in JSON: two escaped halves."""
_VALUE_BYTES = 64
"""A number, the note of what was omitted, punctuation."""


def redact_payload(payload: Mapping[str, Any], *, is_text: bool = False) -> dict[str, Any]:
    """Return `payload` without files and secrets, as JSON of at most MAX_BYTES.

    `is_text`: the event is a text message. Its text stays even where it looks like a file.
    """
    for max_characters, max_values in _LIMITS:
        redactor = _Redactor(max_characters, iter(range(max_values)))
        redacted: dict[str, Any] = redactor.redact("", payload, _MAX_LEVELS, is_text=is_text)
        if redactor.max_bytes <= MAX_BYTES or len(json.dumps(redacted)) <= MAX_BYTES:
            return redacted
    return {"omitted": f"{len(payload)} fields, too large for the log"}


class _Redactor:
    """Redacts a payload. Each value takes an item of `budget`; values beyond it are omitted."""

    def __init__(self, max_characters: int, budget: Iterator[int]) -> None:
        self._max_characters = max_characters
        self._budget = budget
        self.max_bytes = 0
        """What the redacted values take as JSON at most."""

    def redact(self, name: str, value: Any, levels: int, *, is_text: bool) -> Any:
        """Return the redacted value of the field `name`."""
        self.max_bytes += _VALUE_BYTES
        if isinstance(value, str):
            text = self._redact_text(name.lower(), value, is_text=is_text)
            self.max_bytes += _CHARACTER_BYTES * len(text)
            return text
        if not isinstance(value, dict | list):
            return scrub_number(value)
        if levels == 0:
            return f"[{len(value)} members omitted]"
        if isinstance(value, list):
            return self._redact_list(name, value, levels, is_text=is_text)
        return self._redact_object(value, levels, is_text=is_text)

    def _redact_list(self, name: str, value: list[Any], levels: int, *, is_text: bool) -> list[Any]:
        items = [
            self.redact(name, item, levels - 1, is_text=is_text)
            for item, _ in zip(value, self._budget, strict=False)
        ]
        omitted = len(value) - len(items)
        return [*items, f"[{omitted} omitted]"] if omitted else items

    def _redact_object(
        self, value: dict[Any, Any], levels: int, *, is_text: bool
    ) -> dict[str, Any]:
        is_text = is_text and not _has_file(value)
        redacted: dict[str, Any] = {}
        for (key, item), _ in zip(value.items(), self._budget, strict=False):
            name = scrub_text(str(key))[:_MAX_NAME]
            self.max_bytes += _CHARACTER_BYTES * len(name)
            kind = _classify_name(name)
            if kind == "secret" or (kind == "code" and isinstance(item, str | dict)):
                redacted[name] = "[secret]"
                self.max_bytes += _VALUE_BYTES
            else:
                redacted[name] = self.redact(name, item, levels - 1, is_text=is_text)
        omitted = len(value) - len(redacted)
        return redacted | {"…": f"[{omitted} omitted]"} if omitted else redacted

    def _redact_text(self, name: str, value: str, *, is_text: bool) -> str:
        is_link = name.endswith("url")
        if len(value) <= _SHORT_FILE and not is_link and value[:5] != "data:":
            return scrub_text(value)
        is_message_text = is_text and name in _TEXTS
        is_file = name in _FILES and len(value) > _SHORT_FILE
        if is_file or (not is_message_text and is_file_data(value)):
            return f"[file of {len(value)} characters omitted]"
        if is_link:
            value = re.sub(r"\?.*", "?[signature]", value, flags=re.DOTALL)
        value = scrub_text(value)
        omitted = len(value) - self._max_characters
        if omitted <= 0:
            return value
        return f"{value[: self._max_characters]}… [{omitted} {SHORTENED}"


def _has_file(fields: Mapping[str, Any]) -> bool:
    """Return whether a part of an event, for example the quoted message, has a file."""
    content = CONTENT_TYPES.get(normalize_word(parse_text(fields.get("type")) or ""), "text")
    return content != "text" or any(fields.get(name) for name in ("media", "mimetype"))


@lru_cache(maxsize=4096)
def _classify_name(name: str) -> Literal["code", "secret", "plain"]:
    """Return what a field of this name holds: a pairing code, a secret, or any value."""
    if name.lower() in _PAIRING_CODES:
        return "code"
    return "secret" if _SECRET.search(name) else "plain"

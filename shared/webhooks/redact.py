"""An event's payload as the log keeps it: what was said, without files, without secrets, and never large."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from shared.webhooks.attachments import is_file_data
from shared.webhooks.content import TEXT_FIELDS
from shared.webhooks.payload import parse_text, scrub_number, scrub_text
from shared.webhooks.vocabulary import CONTENT_TYPES, normalize_word

MAX_BYTES = 131_072

_SECRET = re.compile(
    r"api_?key|token|secret|password|authorization|cookie|jwt|media_?key", re.IGNORECASE
)
_PAIRING = frozenset({"qr", "qrcode", "qr_code", "urlcode", "pairingcode"})
"""Whoever scans it has the account."""
_FILES = frozenset({"base64", "mediabase64", "thumbnail", "jpegthumbnail"})
_WORDS = frozenset({*TEXT_FIELDS, "newtext", "newbody", "newmessage"})
_LIMITS = ((65_536, 1_000), (2_048, 200), (128, 20))
"""Characters of a text, values in all: what fits first is taken."""
_MAX_LEVELS = 32
_Item = TypeVar("_Item")


def redact_payload(payload: Mapping[str, Any], *, is_text: bool = False) -> dict[str, Any]:
    """Return `payload` fit for the log: JSON of at most MAX_BYTES.

    `is_text`: it is a message of words, which stay words however much they look like a file.
    """
    for characters, values in _LIMITS:
        kept: dict[str, Any] = _Keeper(characters, iter(range(values))).keep(
            "", payload, _MAX_LEVELS, is_text=is_text
        )
        if len(json.dumps(kept)) <= MAX_BYTES:
            return kept
    return {"omitted": f"{len(payload)} fields, too large for the log"}


class _Keeper:
    """Each value kept takes one of `values`; when they are used up, none is kept. Texts have `limit` characters."""

    def __init__(self, limit: int, values: Iterator[int]) -> None:
        self._limit, self._values = limit, values

    def keep(self, name: str, value: Any, levels: int, *, is_text: bool) -> Any:
        """Return what of `value` is kept."""
        if isinstance(value, str):
            return self._text(name.lower(), value, is_text=is_text)
        if not isinstance(value, dict | list):
            return scrub_number(value)
        if levels == 0:
            return f"[{len(value)} members omitted]"
        if isinstance(value, list):
            kept_items = [
                self.keep(name, item, levels - 1, is_text=is_text) for item in self._few(value)
            ]
            left = len(value) - len(kept_items)
            return [*kept_items, f"[{left} omitted]"] if left else kept_items
        is_text = is_text and not _brings_file(value)
        fields = ((scrub_text(str(key))[:128], item) for key, item in self._few(value.items()))
        kept = {
            key: "[secret]"
            if _is_secret(key, item)
            else self.keep(key, item, levels - 1, is_text=is_text)
            for key, item in fields
        }
        return (
            kept if len(kept) == len(value) else kept | {"…": f"[{len(value) - len(kept)} omitted]"}
        )

    def _few(self, items: Iterable[_Item]) -> Iterator[_Item]:
        return (item for item, _ in zip(items, self._values, strict=False))

    def _text(self, name: str, value: str, *, is_text: bool) -> str:
        words = is_text and name in _WORDS
        if (name in _FILES and len(value) > 64) or (not words and is_file_data(value)):
            return f"[file of {len(value)} characters omitted]"
        if name.endswith("url"):
            value = re.sub(r"\?.*", "?[signature]", value, flags=re.DOTALL)
        value, limit = scrub_text(value), self._limit
        return (
            value
            if len(value) <= limit
            else f"{value[:limit]}… [{len(value) - limit} characters omitted]"
        )


def _brings_file(fields: Mapping[str, Any]) -> bool:
    """Return whether a part of a message, such as the one that it answers, is itself one with a file."""
    content = CONTENT_TYPES.get(normalize_word(parse_text(fields.get("type")) or ""), "text")
    return content != "text" or any(fields.get(name) for name in ("media", "mimetype"))


def _is_secret(name: str, value: Any) -> bool:
    lowered = name.lower()
    if lowered in _PAIRING:
        return isinstance(value, str)
    return bool(_SECRET.search(lowered))

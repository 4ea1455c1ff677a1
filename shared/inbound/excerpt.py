"""An event's payload as the log keeps it: what was said, without files, without secrets, and never large."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.inbound.attachments import is_blob
from shared.inbound.shapes import scrub_number, scrub_text

MAX_BYTES = 131_072

_SECRET = re.compile(r"api_?key|token|secret|password|authorization|cookie|jwt|media_?key", re.IGNORECASE)
_PAIRING = frozenset({"qr", "qrcode", "qr_code", "urlcode", "pairingcode"})
"""Whoever scans it has the account."""
_FILES = frozenset({"base64", "mediabase64", "thumbnail", "jpegthumbnail"})
_LIMITS = ((65_536, 1_000), (2_048, 200), (128, 20))
"""Characters of a text, values in all: what fits first is taken."""
_MAX_LEVELS = 32


def excerpt(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return `payload` fit for the log: JSON of at most MAX_BYTES."""
    for characters, values in _LIMITS:
        kept: dict[str, Any] = _keep("", payload, characters, iter(range(values)), _MAX_LEVELS)
        if len(json.dumps(kept)) <= MAX_BYTES:
            return kept
    return {"omitted": f"{len(payload)} fields, too large for the log"}


def _keep(name: str, value: Any, characters: int, values: Iterator[int], levels: int) -> Any:
    """Return what of `value` is kept; each kept value takes one of `values`, and when they are used up, none is."""
    if isinstance(value, str):
        return _text(name.lower(), value, characters)
    if not isinstance(value, dict | list):
        return scrub_number(value)
    if levels == 0:
        return f"[{len(value)} members omitted]"
    if isinstance(value, list):
        items = [_keep(name, item, characters, values, levels - 1) for item, _ in zip(value, values, strict=False)]
        return items if len(items) == len(value) else [*items, f"[{len(value) - len(items)} omitted]"]
    fields = ((scrub_text(str(key))[:128], item) for (key, item), _ in zip(value.items(), values, strict=False))
    kept = {
        key: "[secret]" if _is_secret(key, item) else _keep(key, item, characters, values, levels - 1)
        for key, item in fields
    }
    return kept if len(kept) == len(value) else kept | {"…": f"[{len(value) - len(kept)} omitted]"}


def _text(name: str, value: str, limit: int) -> str:
    if (name in _FILES and len(value) > 64) or is_blob(value):
        return f"[file of {len(value)} characters omitted]"
    if name.endswith("url"):
        value = re.sub(r"\?.*", "?[signature]", value, flags=re.DOTALL)
    value = scrub_text(value)
    return value if len(value) <= limit else f"{value[:limit]}… [{len(value) - limit} characters omitted]"


def _is_secret(name: str, value: Any) -> bool:
    lowered = name.lower()
    if lowered in _PAIRING:
        return isinstance(value, str)
    return bool(_SECRET.search(lowered))

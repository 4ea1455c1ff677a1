"""An event's payload as the log keeps it: what was said, without files, without secrets, and never large."""

import json
import re
from collections.abc import Mapping
from typing import Any

from shared.attachments import is_blob
from shared.shapes import scrub_number, scrub_text

MAX_BYTES = 131_072

_SECRET = re.compile(r"api_?key|token|secret|password|authorization|cookie|jwt|media_?key", re.IGNORECASE)
_PAIRING = frozenset({"qr", "qrcode", "qr_code", "urlcode", "pairingcode"})
"""Whoever scans it has the account."""
_FILES = frozenset({"base64", "mediabase64", "thumbnail", "jpegthumbnail"})
_LIMITS = ((65_536, 1_000, 32), (2_048, 100, 12), (128, 20, 6))
"""Characters of a text, members of a list or object, levels: what fits first is taken."""


def excerpt(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return `payload` fit for the log: JSON of at most MAX_BYTES."""
    for limits in _LIMITS:
        kept: dict[str, Any] = _keep("", payload, limits)
        if len(json.dumps(kept)) <= MAX_BYTES:
            return kept
    return {"omitted": f"{len(payload)} fields, too large for the log"}


def _keep(name: str, value: Any, limits: tuple[int, int, int]) -> Any:
    texts, members, depth = limits
    if isinstance(value, str):
        return _text(name.lower(), value, texts)
    if isinstance(value, dict | list):
        if depth == 0:
            return f"[{len(value)} members omitted]"
        inner = (texts, members, depth - 1)
        if isinstance(value, list):
            return [_keep(name, item, inner) for item in value[:members]]
        shown = [(scrub_text(str(key))[:128], item) for key, item in list(value.items())[:members]]
        return {key: "[secret]" if _is_secret(key, item) else _keep(key, item, inner) for key, item in shown}
    return scrub_number(value)


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

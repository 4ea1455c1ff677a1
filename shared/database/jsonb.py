"""JSON that Postgres takes: jsonb knows neither NUL nor half a surrogate pair, JSON itself neither NaN nor infinity.

Whoever writes to us over WhatsApp chooses these strings, so they are mended rather than refused.
"""

import json
import math
import re
from typing import Any

SUSPECT = re.compile(r"\\u0000|\\ud[89a-f]|NaN|Infinity")
"""In ASCII JSON. Emoji are suspect too, and innocent."""
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(value: Any) -> Any:
    """Return a JSON value with U+FFFD in place of what Postgres refuses, and null in place of NaN and infinities."""
    return _mended(value) if SUSPECT.search(json.dumps(value)) else value


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {_mended(key): _mended(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

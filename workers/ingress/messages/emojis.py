"""Whether a text is a single emoji, as WhatsApp takes it for a reaction."""

import re

_PICTURE = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
)
_VARIANT = "\ufe0f?[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*"
"""In color, of a skin tone, or the flag of a region (tags)."""
_EMOJI = re.compile(
    f"{_PICTURE}{_VARIANT}(?:\u200d{_PICTURE}{_VARIANT})*"
    "|[\U0001f1e6-\U0001f1ff]{2}"
    "|[0-9#*]\ufe0f?\u20e3"
)
MAX_CHARS = 32


def check_emoji(text: str) -> str:
    """Return the text; raises ValueError unless it is one emoji."""
    if len(text) > MAX_CHARS or not _EMOJI.fullmatch(text):
        msg = "give a single emoji"
        raise ValueError(msg)
    return text

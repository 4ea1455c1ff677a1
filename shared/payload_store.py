"""Claim check: the long texts of an event (mostly files) are stored beside the event in Redis.

`extract_long_texts` removes them from a JSON body before it is parsed, so that the parser and the
queue never handle 20 MB. A reference replaces the text: the beginning of the text, followed by its
SHA-256 in hex. So equal texts have equal references, and a data URL still begins like one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import redis

LONG_TEXT_BYTES = 32_768
"""Bytes. Longer texts are extracted."""
PREFIX_BYTES = 256
"""Bytes of a text in its reference: the prefix of a data URL, and enough to recognize base64."""
DIGEST_CHARS = 64
MAX_TEXTS = 200_000
"""Texts of a body that are examined; it takes less than a second. Real bodies have far fewer."""
BACKSLASH = ord("\\")
MAX_BACKSLASHES = 65
"""Backslashes before a quote that are counted. Odd: a longer run counts as an escape."""
CHUNK_BYTES = 1 << 20
RELEASED_TTL_S = 3600
"""How long a text stays after its event is done, in case the event is processed again."""


def extract_long_texts(body: bytes | bytearray) -> tuple[bytes | bytearray, dict[str, bytes]]:
    """Return a JSON body with references, and its long texts (UTF-8) by their SHA-256 in hex.

    Raises:
        ValueError: a long text is not a valid JSON string.
    """
    texts: dict[str, bytes] = {}
    shortened = bytearray()
    done = 0
    if 0 in body[:4]:  # UTF-16 or UTF-32, where a quote is several bytes
        return body, texts
    for start, end in _find_texts(body):
        if end - start > LONG_TEXT_BYTES:
            text = _decode_text(bytes(memoryview(body)[start:end]))
            digest = hashlib.sha256(text).hexdigest()
            texts[digest] = text
            reference = text[:PREFIX_BYTES].decode(errors="ignore") + digest
            shortened += body[done : start - 1] + json.dumps(reference).encode()
            done = end + 1
    return (shortened + body[done:], texts) if texts else (body, texts)


def referenced_digest(text: Any, digests: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """Return the digest in a text that is a reference to any of `digests`, or None."""
    if (
        isinstance(text, str)
        and DIGEST_CHARS <= len(text) <= PREFIX_BYTES + DIGEST_CHARS
        and text[-DIGEST_CHARS:] in digests
    ):
        return text[-DIGEST_CHARS:]
    return None


def referenced_digests(value: Any, digests: Mapping[str, object]) -> Iterator[str]:
    """Yield those of `digests` to which the texts of an event refer."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from referenced_digests(item, digests)
    elif found := referenced_digest(value, digests):
        yield found


def restore_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """Return an event with its references replaced by `texts`, which are given by digest."""
    if isinstance(value, dict):
        return {name: restore_texts(item, texts) for name, item in value.items()}
    if isinstance(value, list):
        return [restore_texts(item, texts) for item in value]
    found = referenced_digest(value, texts)
    return texts[found] if found else value


def read_text(client: "redis.Redis", key: str) -> str | None:
    """Return the text stored under a key, or None when it has expired."""
    stored: Any = client.get(key)
    return None if stored is None else stored.decode(errors="replace")


def read_chunks(client: "redis.Redis", key: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the text stored under a key in chunks; nothing when it has expired."""
    start = 0
    while chunk := client.getrange(key, start, start + chunk_bytes - 1):
        yield chunk  # type: ignore[misc] # this client returns bytes
        start += chunk_bytes


def release(client: "redis.Redis", keys: list[str]) -> None:
    """Let the texts under these keys expire after `RELEASED_TTL_S`."""
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.expire(key, RELEASED_TTL_S)
        pipe.execute()


def _find_texts(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each JSON string, without its quotes."""
    examined = 0
    start = body.find(b'"')
    while start >= 0 and examined < MAX_TEXTS:
        end = body.find(b'"', start + 1)
        while end >= 0 and examined < MAX_TEXTS and _is_escaped(body, end):
            examined += 1
            end = body.find(b'"', end + 1)
        if end < 0 or examined >= MAX_TEXTS:
            return
        yield start + 1, end
        examined += 1
        start = body.find(b'"', end + 1)


def _is_escaped(body: bytes | bytearray, quote: int) -> bool:
    if body[quote - 1] != BACKSLASH:
        return False
    before = body[max(0, quote - MAX_BACKSLASHES) : quote]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def _decode_text(text: bytes) -> bytes:
    """Return the value of a JSON string as UTF-8, without NUL (Postgres refuses it)."""
    if b"\\" in text:
        value: str = json.loads(b'"' + text + b'"')
        return value.replace("\0", "\ufffd").encode(errors="replace")
    if not text.isascii():
        text.decode()  # raises ValueError unless it is UTF-8
    return text

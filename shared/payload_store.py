"""Claim checks: the long texts of an event, files most of all, wait in Redis beside their event and not in it.

`lift` takes them out of a body before it is parsed, so that neither the parser nor a queue ever sees 20 MB. In a
text's place stays its beginning followed by its SHA-256: it is still there for whoever asks whether there is a file,
it is still equal for equal files, and it still looks like what it stands for.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import redis

LONG_TEXT_BYTES = 32_768
"""Bytes. Longer texts are lifted."""
PREFIX_BYTES = 256
"""Bytes of a lifted text that stay: enough for a data URL's prefix and for seeing that it is base64."""
DIGEST_CHARS = 64
MAX_TEXTS = 200_000
"""Texts of one body that are looked at: far more than any real one has, and few enough to take less than a second."""
BACKSLASH = ord("\\")
MAX_BACKSLASHES = 65
"""In front of one quote. Odd, so that a longer row of them counts as an escape, whatever it is."""
CHUNK_BYTES = 1 << 20
RELEASED_TTL_S = 3600
"""How long a blob stays once its file is stored: for whoever has to do it again."""


def extract_long_texts(body: bytes | bytearray) -> tuple[bytes | bytearray, dict[str, bytes]]:
    """Return a JSON body without its long texts, and these, UTF-8, by their SHA-256 in hex.

    Raises:
        ValueError: a long text is no JSON string.
    """
    blobs: dict[str, bytes] = {}
    kept, done = bytearray(), 0
    if 0 in body[:4]:  # UTF-16 or UTF-32, in which a quote is no byte
        return body, blobs
    for start, end in _find_texts(body):
        if end - start > LONG_TEXT_BYTES:
            text = _decode_text(bytes(memoryview(body)[start:end]))
            digest = hashlib.sha256(text).hexdigest()
            blobs[digest] = text
            kept += body[done : start - 1]
            kept += json.dumps(text[:PREFIX_BYTES].decode(errors="ignore") + digest).encode()
            done = end + 1
    return (kept + body[done:], blobs) if blobs else (body, blobs)


def referenced_digest(text: Any, digests: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """Return which of `digests` a text stands for, if it stands for one."""
    if (
        isinstance(text, str)
        and DIGEST_CHARS <= len(text) <= PREFIX_BYTES + DIGEST_CHARS
        and text[-DIGEST_CHARS:] in digests
    ):
        return text[-DIGEST_CHARS:]
    return None


def referenced_digests(value: Any, digests: Mapping[str, object]) -> Iterator[str]:
    """Yield which of `digests` the texts of an event stand for."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from referenced_digests(item, digests)
    elif found := referenced_digest(value, digests):
        yield found


def restore_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """Return an event with `texts`, by digest, back in their places."""
    if isinstance(value, dict):
        return {name: restore_texts(item, texts) for name, item in value.items()}
    if isinstance(value, list):
        return [restore_texts(item, texts) for item in value]
    found = referenced_digest(value, texts)
    return texts[found] if found else value


def read_text(client: "redis.Redis", name: str) -> str | None:
    """Return a blob whole, or None when it is gone."""
    found: Any = client.get(name)
    return None if found is None else found.decode(errors="replace")


def read_chunks(client: "redis.Redis", name: str) -> Iterator[bytes]:
    """Yield a blob piece by piece; nothing at all when it is gone."""
    start = 0
    while piece := client.getrange(name, start, start + CHUNK_BYTES - 1):
        yield piece  # type: ignore[misc] # bytes, as this client answers
        start += CHUNK_BYTES


def release(client: "redis.Redis", names: list[str]) -> None:
    """Let blobs that are no longer needed disappear within the hour."""
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.expire(name, RELEASED_TTL_S)
        pipe.execute()


def _find_texts(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield where the texts of a JSON body begin and end, from quote to quote."""
    looked, start = 0, body.find(b'"')
    while start >= 0 and looked < MAX_TEXTS:
        end = body.find(b'"', start + 1)
        while end >= 0 and looked < MAX_TEXTS and _is_escaped(body, end):
            looked += 1
            end = body.find(b'"', end + 1)
        if end < 0 or looked >= MAX_TEXTS:
            return
        yield start + 1, end
        looked += 1
        start = body.find(b'"', end + 1)


def _is_escaped(body: bytes | bytearray, quote: int) -> bool:
    if body[quote - 1] != BACKSLASH:
        return False
    before = body[max(0, quote - MAX_BACKSLASHES) : quote]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def _decode_text(text: bytes) -> bytes:
    """Return the text that a JSON string stands for, fit to be stored anywhere."""
    if b"\\" in text:
        read: str = json.loads(b'"' + text + b'"')
        return read.replace("\0", "\ufffd").encode(errors="replace")
    if not text.isascii():
        text.decode()
    return text

"""Long texts are extracted from a JSON body, and restored, without a change of its value."""

import json
import time
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.payload_store import (
    LONG_TEXT_BYTES,
    RELEASED_TTL_S,
    extract_long_texts,
    read_chunks,
    read_text,
    release,
    restore_texts,
)

LONG_TEXT = st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=8), st.integers(9000, 12000)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | LONG_TEXT,
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=8,
)


def extract_and_restore(body: bytes) -> Any:
    rest, texts = extract_long_texts(body)
    decoded = {digest: text.decode() for digest, text in texts.items()}
    return restore_texts(json.loads(rest), decoded)


def without_nul(value: Any) -> str:
    return json.dumps(value).replace("\\u0000", "\\ufffd")


@settings(deadline=None)
@given(JSON, st.booleans())
def test_extracting_and_restoring_keeps_the_value(value: Any, ascii_only: bool) -> None:  # noqa: FBT001
    """Only NUL and lone surrogates are replaced, because they cannot be stored."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        before = json.loads(body)
    except ValueError:
        return
    assert without_nul(extract_and_restore(body)) == without_nul(before)


@pytest.mark.parametrize("length", [LONG_TEXT_BYTES, LONG_TEXT_BYTES + 1])
def test_a_text_above_the_limit_is_extracted(length: int) -> None:
    """The limit itself is not above it."""
    body = json.dumps({"a": "x" * length}).encode()
    assert len(extract_long_texts(body)[1]) == (length > LONG_TEXT_BYTES)


def test_json_escapes_are_decoded() -> None:
    """PHP escapes every slash of base64 with a backslash."""
    rest, texts = extract_long_texts(b'{"a":"' + b"ab\\/d" * 10_000 + b'\\u0041\\\\","b":1}')
    assert list(texts.values()) == [b"ab/d" * 10_000 + b"A\\"]
    assert json.loads(rest)["b"] == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_a_body_in_another_encoding_is_unchanged(encoding: str) -> None:
    """The parser handles UTF-16 and UTF-32."""
    value = {"a": "x" * 50_000}
    assert extract_and_restore(json.dumps(value).encode(encoding)) == value


@pytest.mark.parametrize(
    "body",
    [b'"\\' * 3_000_000, b'""' * 3_000_000, b"\\" * 6_000_000 + b'"', b'"' + b'\\"' * 3_000_000],
)
def test_a_hostile_body_is_examined_within_a_second(body: bytes) -> None:
    """Millions of quotes and backslashes do not make it slow."""
    began = time.thread_time()
    extract_long_texts(body)
    assert time.thread_time() - began < 1


def test_a_stored_text_is_read_in_chunks(redis_client: redis.Redis) -> None:
    """A large file is never in memory as a whole."""
    redis_client.set("text", b"0123456789" * 250)
    chunks = list(read_chunks(redis_client, "text", chunk_bytes=1000))
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 500]


def test_an_expired_text_is_none(redis_client: redis.Redis) -> None:
    """The caller falls back to another source of the file."""
    assert list(read_chunks(redis_client, "expired")) == []
    assert read_text(redis_client, "expired") is None


def test_a_released_text_expires(redis_client: redis.Redis) -> None:
    """Releasing a text that has expired has no effect."""
    redis_client.set("text", b"x")
    release(redis_client, ["text", "expired"])
    assert 0 < redis_client.ttl("text") <= RELEASED_TTL_S

"""Long texts are taken out of a body without changing what it says."""

import json
import time
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import payload_store

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


def put_back(body: bytes) -> Any:
    rest, texts = payload_store.extract_long_texts(body)
    return payload_store.restore_texts(
        json.loads(rest), {digest: text.decode() for digest, text in texts.items()}
    )


def storable(value: Any) -> str:
    return json.dumps(value).replace("\\u0000", "\\ufffd")


@settings(deadline=None)
@given(JSON, st.booleans())
def test_what_is_lifted_and_put_back_is_what_it_was(value: Any, ascii_only: bool) -> None:  # noqa: FBT001
    """Only what cannot be stored (NUL, half surrogates) is replaced, and only in long texts."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        before = json.loads(body)
    except ValueError:
        return
    assert storable(put_back(body)) == storable(before)


@pytest.mark.parametrize(
    "length", [payload_store.LONG_TEXT_BYTES, payload_store.LONG_TEXT_BYTES + 1]
)
def test_a_text_is_long_from_one_byte_on(length: int) -> None:
    body = json.dumps({"a": "x" * length}).encode()
    assert len(payload_store.extract_long_texts(body)[1]) == (
        length > payload_store.LONG_TEXT_BYTES
    )


def test_escapes_of_the_json_are_none_of_the_texts() -> None:
    """PHP writes every slash of base64 with a backslash."""
    rest, texts = payload_store.extract_long_texts(
        b'{"a":"' + b"ab\\/d" * 10_000 + b'\\u0041\\\\","b":1}'
    )
    assert list(texts.values()) == [b"ab/d" * 10_000 + b"A\\"]
    assert json.loads(rest)["b"] == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_other_encodings_are_left_to_the_parser(encoding: str) -> None:
    value = {"a": "x" * 50_000}
    assert put_back(json.dumps(value).encode(encoding)) == value


@pytest.mark.parametrize(
    "body",
    [b'"\\' * 3_000_000, b'""' * 3_000_000, b"\\" * 6_000_000 + b'"', b'"' + b'\\"' * 3_000_000],
)
def test_hostile_bodies_take_no_time(body: bytes) -> None:
    began = time.perf_counter()
    payload_store.extract_long_texts(body)
    assert time.perf_counter() - began < 1


def test_a_blob_is_read_piece_by_piece(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_store, "CHUNK_BYTES", 1000)
    redis_client.set("blob", b"0123456789" * 250)
    assert [len(piece) for piece in payload_store.read_chunks(redis_client, "blob")] == [
        1000,
        1000,
        500,
    ]
    assert list(payload_store.read_chunks(redis_client, "none")) == []
    assert payload_store.read_text(redis_client, "none") is None
    payload_store.release(redis_client, ["blob", "none"])
    assert 0 < redis_client.ttl("blob") <= payload_store.RELEASED_TTL_S

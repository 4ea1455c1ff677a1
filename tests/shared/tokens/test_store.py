"""Stored tokens: which are usable, and how the background thread saves them."""

import threading
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from pydantic import SecretStr

from shared.tokens.store import (
    MintedToken,
    StoredCredentials,
    Token,
    TokenSaver,
    is_header_safe,
    read_usable_token,
)
from tests.fixtures.waiting import shortest_s

ACCOUNT = "0000000000042"


class SlowStore:
    """A store that records the saved tokens; a save that has `begun` waits for `go_on`."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.saved: list[tuple[str, int]] = []
        self.failure: Exception | None = None

    def load(self, _account: str) -> StoredCredentials:
        return StoredCredentials()

    def save(self, account: str, token: Token) -> None:
        self.begun.set()
        assert self.go_on.wait(60)
        if self.failure:
            raise self.failure
        self.saved.append((account, token.generation))


def token(value: str = "opaque", left_s: float = 600, generation: int = 0) -> Token:
    return Token(SecretStr(value), generation, datetime.now(UTC) + timedelta(seconds=left_s))


def encode_jwt(left_s: float, full_s: float | None = None) -> str:
    exp = int(time.time() + left_s)
    claims = {"exp": exp} | ({"iat": exp - full_s} if full_s else {})
    return jwt.encode(claims, "k" * 32)


def test_a_stored_token_has_its_remaining_lifetime() -> None:
    found = read_usable_token(token())
    assert isinstance(found, MintedToken)
    assert found.lifetime_s == pytest.approx(600, abs=1)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        token(left_s=59),
        token(encode_jwt(left_s=30), left_s=3600),
        token("line\nbreak"),
        token(""),
    ],
    ids=[
        "none",
        "less than a minute",
        "a JWT that ends before its stored end",
        "broken",
        "empty",
    ],
)
def test_unusable_stored_tokens_are_ignored(stored: Token | None) -> None:
    assert read_usable_token(stored) is None


@pytest.mark.parametrize(
    ("full_s", "left_s", "counts"),
    [(900, 59, False), (900, 61, True), (30, 2, False), (30, 5, True)],
)
def test_a_minute_or_a_tenth_of_a_short_lifetime_must_be_left(
    full_s: float,
    left_s: float,
    counts: bool,  # noqa: FBT001
) -> None:
    """The margin depends on the full lifetime of the token, not on the time left."""
    stored = token(encode_jwt(left_s + 0.99, full_s), left_s=3600)
    assert (read_usable_token(stored) is not None) == counts


@pytest.mark.parametrize("value", ["", "a b", "a\n", "\u0430", "a\x00", None, 5, b"bytes"])
def test_a_value_that_fits_no_header_is_no_token(value: object) -> None:
    assert not is_header_safe(value)
    assert is_header_safe("eyJ0.eyJ1-_.sig~+/=")


def test_saving_does_not_block_the_caller() -> None:
    """A background thread waits for a slow store."""
    store = SlowStore()
    saver = TokenSaver(store, lambda _account, _generation: True)

    def put() -> None:
        for account in ("1", "2"):
            saver.put(account, token(generation=7))

    saver.put("1", token(generation=7))
    assert store.begun.wait(20)
    assert shortest_s(put, 0.1) < 0.1
    names = [thread.name for thread in threading.enumerate() if thread.daemon]
    assert names.count("token-save") == 1
    assert not saver.flush(0.01)
    store.go_on.set()
    assert saver.flush(20)
    assert store.saved == [("1", 7), ("1", 7), ("2", 7)]


def test_only_the_newest_token_is_saved() -> None:
    """Waiting tokens replace each other; a token never follows a newer token."""
    store = SlowStore()
    saver = TokenSaver(store, lambda _account, generation: generation != 5)
    for generation in (1, 4, 3):
        saver.put(ACCOUNT, token(generation=generation))
        assert store.begun.wait(20)
    store.go_on.set()
    assert saver.flush(20)
    saver.put(ACCOUNT, token(generation=5))
    assert saver.flush(20)
    assert store.saved == [(ACCOUNT, 1), (ACCOUNT, 4)], "5 was no longer the newest"


def test_the_saver_continues_after_an_error() -> None:
    """After an error of the store the next token is saved."""
    store = SlowStore()
    store.go_on.set()
    saver = TokenSaver(store, lambda _account, _generation: True)
    store.failure = RuntimeError("broken")
    saver.put(ACCOUNT, token(generation=1))
    assert saver.flush(20)
    store.failure = None
    saver.put(ACCOUNT, token(generation=2))
    assert saver.flush(20)
    assert store.saved == [(ACCOUNT, 2)]

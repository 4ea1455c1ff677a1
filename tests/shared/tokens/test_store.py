"""Tokens beyond Redis: which stored ones count, and saving behind the back of whoever got them."""

import base64
import json
import threading
import time
from datetime import UTC, datetime, timedelta

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

ACCOUNT = "0000000000042"


class Store:
    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.saved: list[tuple[str, int]] = []
        self.failure: Exception | None = None

    def load(self, _account: str) -> StoredCredentials:
        return StoredCredentials()

    def save(self, account: str, token: Token) -> None:
        time.sleep(self.takes_s)
        if self.failure:
            raise self.failure
        self.saved.append((account, token.generation))


def token(value: str = "opaque", left_s: float = 600, generation: int = 0) -> Token:
    return Token(SecretStr(value), generation, datetime.now(UTC) + timedelta(seconds=left_s))


def jwt(left_s: float, whole_s: float | None = None) -> str:
    exp = int(time.time() + left_s)
    body = base64.urlsafe_b64encode(
        json.dumps({"exp": exp} | ({"iat": exp - whole_s} if whole_s else {})).encode()
    ).decode()
    return f"e30.{body}.signature"


def test_a_stored_token_comes_with_what_it_has_left() -> None:
    found = read_usable_token(token())
    assert isinstance(found, MintedToken)
    assert found.life_s == pytest.approx(600, abs=1)


@pytest.mark.parametrize(
    "kept",
    [None, token(left_s=59), token(jwt(left_s=30), left_s=3600), token("line\nbreak"), token("")],
    ids=[
        "none",
        "less than a minute",
        "a JWT that ends sooner than what the CRM has written",
        "broken",
        "empty",
    ],
)
def test_one_that_no_longer_counts_or_never_did_is_left(kept: Token | None) -> None:
    assert read_usable_token(kept) is None


@pytest.mark.parametrize(
    ("whole_s", "left_s", "counts"),
    [(900, 59, False), (900, 61, True), (30, 2, False), (30, 5, True)],
)
def test_a_minute_must_be_left_or_a_tenth_of_a_short_life(
    whole_s: float,
    left_s: float,
    counts: bool,  # noqa: FBT001
) -> None:
    """Judged by the token's whole life, not by what it happens to have left."""
    kept = token(jwt(left_s + 0.99, whole_s), left_s=3600)
    assert (read_usable_token(kept) is not None) == counts


@pytest.mark.parametrize("value", ["", "a b", "a\n", "\u0430", "a\x00", None, 5, b"bytes"])
def test_what_cannot_travel_in_a_header_is_no_token(value: object) -> None:
    assert not is_header_safe(value)
    assert is_header_safe("eyJ0.eyJ1-_.sig~+/=")


def test_saving_does_not_hold_up_its_caller() -> None:
    """A slow store is waited for by one thread of its own."""
    store = Store(takes_s=0.2)
    saver = TokenSaver(store, lambda _account, _generation: True)
    began = time.monotonic()
    for account in ("1", "2"):
        saver.put(account, token(generation=7))
    assert time.monotonic() - began < 0.1
    names = [thread.name for thread in threading.enumerate() if thread.daemon]
    assert names.count("token-save") == 1
    assert not saver.flush(0.01)
    assert saver.flush(5)
    assert store.saved == [("1", 7), ("2", 7)]


def test_only_the_newest_is_saved() -> None:
    """While one is being saved the next ones replace each other, and an older one never comes after a newer."""
    store = Store(takes_s=0.1)
    saver = TokenSaver(store, lambda _account, generation: generation != 5)
    for generation in (1, 4, 3):
        saver.put(ACCOUNT, token(generation=generation))
        time.sleep(0.02)
    assert saver.flush(5)
    saver.put(ACCOUNT, token(generation=5))
    assert saver.flush(5)
    assert store.saved == [(ACCOUNT, 1), (ACCOUNT, 4)], (
        "5 was no longer the newest when its turn came"
    )


def test_a_failed_save_is_survived() -> None:
    """Whatever a store raises, the next token is saved."""
    store = Store()
    saver = TokenSaver(store, lambda _account, _generation: True)
    store.failure = RuntimeError("broken")
    saver.put(ACCOUNT, token(generation=1))
    assert saver.flush(5)
    store.failure = None
    saver.put(ACCOUNT, token(generation=2))
    assert saver.flush(5)
    assert store.saved == [(ACCOUNT, 2)]

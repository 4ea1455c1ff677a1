"""Tokens beyond Redis: which stored ones count, and saving behind the back of whoever got them."""

import base64
import hashlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from shared.errors import DatabaseUnavailableError
from shared.tokens.store import Minted, Saver, Token, load_valid

ACCOUNT = "0000000000042"


class Store:
    def __init__(self, token: Token | None = None, takes_s: float = 0.0) -> None:
        self.token, self.takes_s = token, takes_s
        self.saved: list[tuple[str, int]] = []
        self.failure: Exception | None = None

    def load(self, _account: str) -> Token | None:
        if self.failure:
            raise self.failure
        return self.token

    def save(self, account: str, token: Token) -> None:
        time.sleep(self.takes_s)
        if self.failure:
            raise self.failure
        self.saved.append((account, token.generation))


def token(value: str = "opaque", left_s: float = 600, generation: int = 0) -> Token:
    return Token(SecretStr(value), generation, datetime.now(UTC) + timedelta(seconds=left_s))


def jwt(left_s: float) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time() + left_s)}).encode()).decode()
    return f"e30.{body}.signature"


def test_a_stored_token_comes_with_what_it_has_left() -> None:
    found = load_valid(Store(token()), ACCOUNT, "")
    assert isinstance(found, Minted)
    assert found.life_s == pytest.approx(600, abs=1)


@pytest.mark.parametrize("kept", [None, token(left_s=59), token(jwt(left_s=30), left_s=3600)])
def test_one_that_no_longer_counts_is_left(kept: Token | None) -> None:
    """Nothing, less than a minute, or a JWT that ends sooner than the hour that the CRM has written down."""
    assert load_valid(Store(kept), ACCOUNT, "") is None


def test_one_that_was_refused_is_left() -> None:
    sha1 = hashlib.sha1(b"opaque", usedforsecurity=False).hexdigest()
    assert load_valid(Store(token()), ACCOUNT, sha1) is None


def test_a_store_that_is_away_has_none() -> None:
    store = Store(token())
    store.failure = DatabaseUnavailableError("away")
    assert load_valid(store, ACCOUNT, "") is None


def test_saving_does_not_hold_up_its_caller() -> None:
    """A slow store is waited for by one thread of its own."""
    store = Store(takes_s=0.2)
    saver = Saver(store, lambda _account, _generation: True)
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
    saver = Saver(store, lambda _account, generation: generation != 5)
    for generation in (1, 4, 3):
        saver.put(ACCOUNT, token(generation=generation))
        time.sleep(0.02)
    assert saver.flush(5)
    saver.put(ACCOUNT, token(generation=5))
    assert saver.flush(5)
    assert store.saved == [(ACCOUNT, 1), (ACCOUNT, 4)], "5 was no longer the newest when its turn came"


def test_a_failed_save_is_survived() -> None:
    """Whatever a store raises, the next token is saved."""
    store = Store()
    saver = Saver(store, lambda _account, _generation: True)
    store.failure = RuntimeError("broken")
    saver.put(ACCOUNT, token(generation=1))
    assert saver.flush(5)
    store.failure = None
    saver.put(ACCOUNT, token(generation=2))
    assert saver.flush(5)
    assert store.saved == [(ACCOUNT, 2)]

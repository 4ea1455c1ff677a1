"""The first token of a new key, on a real Redis."""

import threading
import time

import pytest
import redis
from pydantic import SecretStr

from shared.errors import InvalidApiKeyError, RefusedError
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.minting import ACCOUNT, KEY, Mint, together, value
from tests.shared.tokens.stores import MemoryStore


def test_an_adopted_token_needs_no_mint(redis_client: "redis.Redis") -> None:
    """The first token of a repaired key is published at once, over an older one and a refusal of the old key."""
    mint, store = Mint(), MemoryStore()
    mint.failure = InvalidApiKeyError("refused")
    cache = TokenCache(redis_client, mint, store)
    with pytest.raises(InvalidApiKeyError):
        cache.get(ACCOUNT)
    assert cache.is_refused(ACCOUNT)
    cache.install_first_token(ACCOUNT, lambda: MintedToken(SecretStr("first"), 900))
    assert not cache.is_refused(ACCOUNT)
    assert (
        value(cache.get(ACCOUNT))
        == value(TokenCache(redis_client, mint, store).get(ACCOUNT))
        == "first"
    )
    assert cache.flush()
    assert value(store.tokens[ACCOUNT]) == "first"
    assert mint.calls == 1


def test_an_adopted_token_that_comes_late_leaves_a_younger_one(redis_client: "redis.Redis") -> None:
    """Its place is where its question was asked, not where the answer came in."""
    cache, store = TokenCache(redis_client, Mint(), MemoryStore()), MemoryStore()

    def slow() -> MintedToken:
        redis_client.delete(f"{KEY}:lease")  # it took too long, and somebody else was elected
        cache.get(ACCOUNT)
        return MintedToken(SecretStr("older"), 900)

    other = TokenCache(redis_client, Mint(), store)
    other.install_first_token(ACCOUNT, slow)
    assert value(other.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()
    assert other.flush()
    assert store.tokens == {}


def test_nobody_asks_with_a_new_key_while_its_first_token_is_got(
    redis_client: "redis.Redis",
) -> None:
    """A new key may be refused at first: others wait for who knows that, and are not told `refused` meanwhile."""
    mint = Mint()
    mint.failure = InvalidApiKeyError("too new")
    cache, found = TokenCache(redis_client, mint, MemoryStore()), list[object]()
    waiting = threading.Thread(
        target=lambda: found.extend(together(4, lambda: value(cache.get(ACCOUNT))))
    )

    def first() -> MintedToken:
        waiting.start()
        time.sleep(0.2)
        return MintedToken(SecretStr("first"), 900)

    TokenCache(redis_client, mint, MemoryStore()).install_first_token(ACCOUNT, first)
    waiting.join()
    assert found == ["first"] * 4
    assert mint.calls == 0


def test_a_first_token_that_does_not_come_ends_its_flight(redis_client: "redis.Redis") -> None:
    """What kept it away is raised as it is, and nobody waits for it any longer."""

    def refused() -> MintedToken:
        msg = "a proxy says no"
        raise RefusedError(msg, status=403)

    with pytest.raises(RefusedError, match="a proxy says no"):
        TokenCache(redis_client, Mint(), MemoryStore()).install_first_token(ACCOUNT, refused)
    assert redis_client.get(f"{KEY}:lease") is None

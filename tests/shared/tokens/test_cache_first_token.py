"""The first token of a new key, on a real Redis."""

import threading
import time

import pytest
import redis
from pydantic import SecretStr

from shared.errors import InvalidApiKeyError, RefusedError
from shared.redis import keys
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.minting import ACCOUNT, FakeMint, run_together, token_value
from tests.shared.tokens.stores import MemoryStore


def test_an_installed_token_needs_no_mint(redis_client: "redis.Redis") -> None:
    """The first token of a new key replaces the old token and clears the refusal of the old key."""
    mint = FakeMint()
    store = MemoryStore()
    mint.failure = InvalidApiKeyError("refused")
    cache = TokenCache(redis_client, mint, store)
    with pytest.raises(InvalidApiKeyError):
        cache.get(ACCOUNT)
    assert cache.is_refused(ACCOUNT)
    cache.install_first_token(ACCOUNT, lambda: MintedToken(SecretStr("first"), 900))
    assert not cache.is_refused(ACCOUNT)
    assert (
        token_value(cache.get(ACCOUNT))
        == token_value(TokenCache(redis_client, mint, store).get(ACCOUNT))
        == "first"
    )
    assert cache.flush()
    assert token_value(store.tokens[ACCOUNT]) == "first"
    assert mint.calls == 1


def test_a_late_first_token_does_not_replace_a_later_one(redis_client: "redis.Redis") -> None:
    """The order is that of the requests, not that of the answers."""
    cache = TokenCache(redis_client, FakeMint(), MemoryStore())
    store = MemoryStore()

    def slow() -> MintedToken:
        redis_client.delete(
            keys.token_lease(ACCOUNT)
        )  # its lease ended, and another flight is elected
        cache.get(ACCOUNT)
        return MintedToken(SecretStr("older"), 900)

    other = TokenCache(redis_client, FakeMint(), store)
    other.install_first_token(ACCOUNT, slow)
    assert token_value(other.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()
    assert other.flush()
    assert store.tokens == {}


def test_other_callers_wait_for_the_first_token_of_a_new_key(
    redis_client: "redis.Redis",
) -> None:
    """The platform may refuse a new key at first; callers wait and see no refusal."""
    mint = FakeMint()
    mint.failure = InvalidApiKeyError("too new")
    cache = TokenCache(redis_client, mint, MemoryStore())
    found = list[object]()
    waiting = threading.Thread(
        target=lambda: found.extend(run_together(4, lambda: token_value(cache.get(ACCOUNT))))
    )

    def first() -> MintedToken:
        waiting.start()
        time.sleep(0.2)
        return MintedToken(SecretStr("first"), 900)

    TokenCache(redis_client, mint, MemoryStore()).install_first_token(ACCOUNT, first)
    waiting.join()
    assert found == ["first"] * 4
    assert mint.calls == 0


def test_a_failed_first_token_ends_its_flight(redis_client: "redis.Redis") -> None:
    """The error is raised unchanged, and the lease is released."""

    def refused() -> MintedToken:
        msg = "a proxy says no"
        raise RefusedError(msg, status=403)

    with pytest.raises(RefusedError, match="a proxy says no"):
        TokenCache(redis_client, FakeMint(), MemoryStore()).install_first_token(ACCOUNT, refused)
    assert redis_client.get(keys.token_lease(ACCOUNT)) is None

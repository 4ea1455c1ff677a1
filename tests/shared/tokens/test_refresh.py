"""The sources of a token, on a real Redis: memory, Redis, the store, the platform."""

import time

import pytest
import redis
from pydantic import SecretStr

from shared.errors import DatabaseUnavailableError, InvalidApiKeyError, UnavailableError
from shared.http.deadline import remaining, within
from shared.tokens import TokenCache
from shared.tokens.policy import MINT_TIMEOUT_S, STORE_TIMEOUT_S, RefreshPolicy
from shared.tokens.store import MintedToken, StoredCredentials, Token
from tests.shared.tokens.minting import (
    ACCOUNT,
    KEY,
    FakeMint,
    join_refreshes,
    stored_token,
    token_value,
)
from tests.shared.tokens.stores import MemoryStore


def test_the_nearest_layer_with_a_token_serves(redis_client: "redis.Redis") -> None:
    """Memory, Redis, store, platform: each serves only when the nearer layers have no token."""
    mint = FakeMint()
    store = MemoryStore()
    first = TokenCache(redis_client, mint, store)
    token = first.get(ACCOUNT)
    assert first.flush()
    assert token_value(store.tokens[ACCOUNT]) == token_value(token), "a refresh reaches every layer"
    redis_client.flushall()
    assert first.get(ACCOUNT) is token, "memory"
    assert token_value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == token_value(token), (
        "the store"
    )
    store.tokens.clear()
    assert token_value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == token_value(token), (
        "Redis"
    )
    assert mint.calls == 1


@pytest.mark.parametrize("left_s", [-5, 30, 59])
def test_an_unusable_stored_token_is_ignored(redis_client: "redis.Redis", left_s: float) -> None:
    """A token is usable while it has more than 60 s left."""
    cache = TokenCache(redis_client, FakeMint(), MemoryStore(stored_token("old", left_s)))
    assert token_value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_rejected_stored_token_is_not_used_again(redis_client: "redis.Redis") -> None:
    """After a 401 with the token from the store, the platform mints a new token."""
    mint = FakeMint()
    cache = TokenCache(redis_client, mint, MemoryStore(stored_token("revoked", 600)))
    refused = cache.get(ACCOUNT)
    assert token_value(refused) == "revoked"
    assert cache.invalidate(ACCOUNT, refused.generation)
    assert token_value(cache.get(ACCOUNT, not_generation=refused.generation)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_store_outage_pauses_the_account(redis_client: "redis.Redis") -> None:
    """Without the key nothing is minted, and the next read of the store waits for the pause."""
    mint = FakeMint()
    store = MemoryStore()
    store.failure = DatabaseUnavailableError("away")
    cache = TokenCache(redis_client, mint, store, RefreshPolicy(pause_s=10, max_pause_s=10))
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            cache.get(ACCOUNT)
        assert caught.value.retry_after_s
    assert (mint.calls, store.loads) == (0, 1)


def test_a_failed_save_does_not_affect_the_token(
    redis_client: "redis.Redis",
) -> None:
    """The token is used without a stored copy."""

    class ReadOnly(MemoryStore):
        def save(self, account: str, token: Token) -> None:
            msg = f"{account} {token.generation}"
            raise DatabaseUnavailableError(msg)

    cache = TokenCache(redis_client, FakeMint(), ReadOnly())
    assert token_value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_flight_reads_the_store_once(redis_client: "redis.Redis") -> None:
    """A single read returns the stored token and the key, for a first flight and for a refresh."""
    mint = FakeMint()
    store = MemoryStore()
    cache = TokenCache(redis_client, mint, store)
    cache.get(ACCOUNT)
    assert (mint.calls, store.loads) == (1, 1)
    redis_client.hset(KEY, "refresh_at", 1)
    TokenCache(redis_client, mint, store).get(ACCOUNT)
    join_refreshes()
    assert (mint.calls, store.loads) == (2, 2)


def test_the_parts_of_a_flight_have_deadlines(redis_client: "redis.Redis") -> None:
    """Together they end before the lease, or with the call's own deadline if that is sooner."""
    left: list[float] = []

    class Slow(MemoryStore):
        def load(self, account: str) -> StoredCredentials:
            left.append(remaining())
            return super().load(account)

    def mint(_api_key: SecretStr) -> MintedToken:
        left.append(remaining())
        return MintedToken(SecretStr("token"), 900)

    for deadline_s, expected in ((60.0, [STORE_TIMEOUT_S, MINT_TIMEOUT_S]), (1.5, [1.5, 1.5])):
        left.clear()
        redis_client.flushall()
        began_s = time.monotonic()
        with within(deadline_s):
            TokenCache(redis_client, mint, Slow()).get(ACCOUNT)
        took_s = time.monotonic() - began_s
        assert all(
            most_s - took_s <= left_s <= most_s
            for left_s, most_s in zip(left, expected, strict=True)
        )
    assert RefreshPolicy().lease_s >= STORE_TIMEOUT_S + MINT_TIMEOUT_S + 1


def test_an_account_without_a_key_raises_the_remedy(redis_client: "redis.Redis") -> None:
    mint = FakeMint()
    store = MemoryStore()
    store.keys[ACCOUNT] = None
    with pytest.raises(InvalidApiKeyError, match="force_recreate"):
        TokenCache(redis_client, mint, store).get(ACCOUNT)
    assert mint.calls == 0


@pytest.mark.parametrize("broken", ["", "two words", "line\nbreak", "ключ", "\x7f"])
def test_a_stored_token_that_fits_no_header_is_ignored(
    redis_client: "redis.Redis", broken: str
) -> None:
    """An invalid header would break the call while it is sent, and its effect would be unknown."""
    cache = TokenCache(redis_client, FakeMint(), MemoryStore(stored_token(broken, 600)))
    assert token_value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()

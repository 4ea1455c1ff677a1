"""Where a token comes from, on a real Redis: this process, Redis, the store, the platform."""

import pytest
import redis
from pydantic import SecretStr

from shared.errors import DatabaseUnavailableError, InvalidApiKeyError, UnavailableError
from shared.http.deadline import remaining, within
from shared.tokens import TokenCache
from shared.tokens.policy import MINT_TIMEOUT_S, STORE_TIMEOUT_S, RefreshPolicy
from shared.tokens.store import MintedToken, StoredCredentials, Token
from tests.shared.tokens.minting import ACCOUNT, KEY, Mint, refreshes_end, stored, value
from tests.shared.tokens.stores import MemoryStore


def test_layers_nearest_first(redis_client: "redis.Redis") -> None:
    """This process, Redis, the store, the platform: each is asked only when the nearer ones have nothing."""
    mint, store = Mint(), MemoryStore()
    first = TokenCache(redis_client, mint, store)
    token = first.get(ACCOUNT)
    assert first.flush()
    assert value(store.tokens[ACCOUNT]) == value(token), "a refresh reaches every layer"
    redis_client.flushall()
    assert first.get(ACCOUNT) is token, "this process"
    assert value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == value(token), "the store"
    store.tokens.clear()
    assert value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == value(token), "Redis"
    assert mint.calls == 1


@pytest.mark.parametrize("left_s", [-5, 30, 59])
def test_a_stored_token_that_no_longer_counts_is_left(
    redis_client: "redis.Redis", left_s: float
) -> None:
    """A token counts while it has more than 60 s left."""
    cache = TokenCache(redis_client, Mint(), MemoryStore(stored("old", left_s)))
    assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_stored_token_that_was_refused_is_not_taken_again(redis_client: "redis.Redis") -> None:
    """After a 401 with the token from the store, the platform is asked for another one."""
    mint = Mint()
    cache = TokenCache(redis_client, mint, MemoryStore(stored("revoked", 600)))
    refused = cache.get(ACCOUNT)
    assert value(refused) == "revoked"
    assert cache.invalidate(ACCOUNT, refused.generation)
    assert value(cache.get(ACCOUNT, not_generation=refused.generation)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_store_that_is_away_has_no_key_either(redis_client: "redis.Redis") -> None:
    """Without a key nobody is asked: nothing was sent, and the store is left alone for a moment."""
    mint, store = Mint(), MemoryStore()
    store.failure = DatabaseUnavailableError("away")
    cache = TokenCache(redis_client, mint, store, RefreshPolicy(pause_s=10, longest_pause_s=10))
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            cache.get(ACCOUNT)
        assert caught.value.retry_after_s
    assert (mint.calls, store.loads) == (0, 1)


def test_a_store_that_takes_nothing_costs_nothing_but_its_layer(
    redis_client: "redis.Redis",
) -> None:
    """A token that cannot be saved is used all the same."""

    class ReadOnly(MemoryStore):
        def save(self, account: str, token: Token) -> None:
            msg = f"{account} {token.generation}"
            raise DatabaseUnavailableError(msg)

    cache = TokenCache(redis_client, Mint(), ReadOnly())
    assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_flight_reads_the_store_once(redis_client: "redis.Redis") -> None:
    """The stored token and the key are of the same row, cold as well as for a refresh."""
    mint, store = Mint(), MemoryStore()
    cache = TokenCache(redis_client, mint, store)
    cache.get(ACCOUNT)
    assert (mint.calls, store.loads) == (1, 1)
    redis_client.hset(KEY, "soft", 1)
    TokenCache(redis_client, mint, store).get(ACCOUNT)
    refreshes_end()
    assert (mint.calls, store.loads) == (2, 2)


def test_a_flight_s_parts_know_how_long_they_have(redis_client: "redis.Redis") -> None:
    """Together they end before the lease, also where the call around them has more time; and with it, where less."""
    left: list[float] = []

    class Slow(MemoryStore):
        def load(self, account: str) -> StoredCredentials:
            left.append(remaining())
            return super().load(account)

    def mint(_api_key: SecretStr) -> MintedToken:
        left.append(remaining())
        return MintedToken(SecretStr("token"), 900)

    for whole_s, expected in ((60.0, [STORE_TIMEOUT_S, MINT_TIMEOUT_S]), (1.5, [1.5, 1.5])):
        left.clear()
        redis_client.flushall()
        with within(whole_s):
            TokenCache(redis_client, mint, Slow()).get(ACCOUNT)
        assert left == pytest.approx(expected, abs=0.2)
    assert RefreshPolicy().lease_s >= STORE_TIMEOUT_S + MINT_TIMEOUT_S + 1


def test_an_account_without_a_key_is_told_the_way_out(redis_client: "redis.Redis") -> None:
    mint, store = Mint(), MemoryStore()
    store.keys[ACCOUNT] = None
    with pytest.raises(InvalidApiKeyError, match="force_recreate"):
        TokenCache(redis_client, mint, store).get(ACCOUNT)
    assert mint.calls == 0


@pytest.mark.parametrize("spoilt", ["", "two words", "line\nbreak", "ключ", "\x7f"])
def test_a_stored_token_that_cannot_be_sent_is_left(
    redis_client: "redis.Redis", spoilt: str
) -> None:
    """It would break the call, and nobody could tell whether the message had left."""
    cache = TokenCache(redis_client, Mint(), MemoryStore(stored(spoilt, 600)))
    assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()

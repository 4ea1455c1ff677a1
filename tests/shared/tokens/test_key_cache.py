"""Tokens are minted with the last known API key while the store is away."""

import pytest
import redis
from pydantic import SecretStr

from shared.errors import DatabaseUnavailableError, UnavailableError
from shared.redis import keys
from shared.tokens import TokenCache
from shared.tokens.key_cache import KeyCachingStore
from shared.tokens.store import MintedToken
from tests.shared.tokens.minting import ACCOUNT, FakeMint
from tests.shared.tokens.stores import MemoryStore

SECRET = b"a" * 32
OTHER = b"b" * 32


def end_token(client: redis.Redis) -> None:
    client.delete(keys.token(ACCOUNT), keys.token_pause(ACCOUNT))


def test_a_token_is_minted_while_the_store_is_away(redis_client: redis.Redis) -> None:
    """By a process that has never read the key from the store."""
    mint = FakeMint()
    store = MemoryStore()
    TokenCache(redis_client, mint, KeyCachingStore(store, redis_client, [SECRET])).get(ACCOUNT)
    end_token(redis_client)
    store.failure = DatabaseUnavailableError("away")
    other = TokenCache(redis_client, mint, KeyCachingStore(store, redis_client, [OTHER, SECRET]))
    assert other.get(ACCOUNT).value.get_secret_value() == f"{ACCOUNT}-2"


def test_redis_has_no_key_that_can_be_read(redis_client: redis.Redis) -> None:
    """Without the server's secret the stored value is of no use."""
    store = MemoryStore()
    store.keys[ACCOUNT] = SecretStr("the platform's API key")
    KeyCachingStore(store, redis_client, [SECRET]).load(ACCOUNT)
    stored = redis_client.get(keys.token_api_key(ACCOUNT))
    assert stored
    assert b"API key" not in stored
    store.failure = DatabaseUnavailableError("away")
    with pytest.raises(DatabaseUnavailableError):
        KeyCachingStore(store, redis_client, [OTHER]).load(ACCOUNT)


def test_a_replaced_or_deleted_key_is_not_used(redis_client: redis.Redis) -> None:
    """The first token of a new key, and a store without a key, drop the known one."""
    store = MemoryStore()
    cached = KeyCachingStore(store, redis_client, [SECRET])
    cache = TokenCache(redis_client, FakeMint(), cached)
    cache.get(ACCOUNT)
    cache.install_first_token(ACCOUNT, lambda: MintedToken(SecretStr("first"), 900))
    assert not redis_client.exists(keys.token_api_key(ACCOUNT))
    cached.load(ACCOUNT)
    store.keys[ACCOUNT] = None
    cached.load(ACCOUNT)
    assert not redis_client.exists(keys.token_api_key(ACCOUNT))
    end_token(redis_client)
    store.failure = DatabaseUnavailableError("away")
    with pytest.raises(UnavailableError):
        TokenCache(redis_client, FakeMint(), cached).get(ACCOUNT)

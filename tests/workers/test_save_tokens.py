"""A worker that stops saves the token that it has got last."""

import time

import redis
from pydantic import SecretStr

from shared.lanes.broker import LaneBroker
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, Token
from tests.shared.lanes.workers import working
from tests.shared.tokens.stores import MemoryStore
from workers.broker import SaveTokens

ACCOUNT = "0000000000042"


class Slow(MemoryStore):
    def save(self, account: str, token: Token) -> None:
        time.sleep(0.3)
        super().save(account, token)


def test_a_worker_ends_after_its_tokens_are_saved(redis_client: redis.Redis) -> None:
    """A process that ends takes its threads with it, the one that saves included."""
    store = Slow()
    tokens = TokenCache(redis_client, lambda _key: MintedToken(SecretStr("last"), 900), store)
    with working(LaneBroker(redis_client, middleware=[SaveTokens(lambda: tokens)]), threads=1):
        tokens.get(ACCOUNT)
        assert store.tokens == {}
    assert store.tokens[ACCOUNT].value.get_secret_value() == "last"


def test_a_store_that_is_away_holds_no_worker_up(redis_client: redis.Redis) -> None:
    store = Slow()
    tokens = TokenCache(redis_client, lambda _key: MintedToken(SecretStr("last"), 900), store)
    broker = LaneBroker(redis_client, middleware=[SaveTokens(lambda: tokens)])
    began = time.monotonic()
    with working(broker, threads=1):
        tokens.get(ACCOUNT)
        store.failure = RuntimeError("away")
    assert time.monotonic() - began < 3
    assert store.tokens == {}

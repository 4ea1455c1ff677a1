"""A worker that stops saves the token that it has got last."""

import threading

import redis
import structlog
from pydantic import SecretStr

from shared.lanes.broker import LaneBroker
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, Token
from tests.fixtures.waiting import Stopwatch
from tests.shared.lanes.workers import working
from tests.shared.tokens.stores import MemoryStore
from workers.broker import SaveTokens

ACCOUNT = "0000000000042"


class Slow(MemoryStore):
    """Saves a moment after the worker has begun to end."""

    def __init__(self) -> None:
        super().__init__()
        self.may_save = threading.Event()

    def save(self, account: str, token: Token) -> None:
        self.may_save.wait(20)
        super().save(account, token)

    def save_soon(self) -> None:
        threading.Timer(0.3, self.may_save.set).start()


def ending_broker(client: redis.Redis, store: Slow, tokens: TokenCache) -> LaneBroker:
    def find_tokens() -> TokenCache:
        store.save_soon()
        return tokens

    return LaneBroker(client, middleware=[SaveTokens(find_tokens)])


def test_a_worker_ends_after_its_tokens_are_saved(redis_client: redis.Redis) -> None:
    """A process that ends takes its threads with it, the one that saves included."""
    store = Slow()
    tokens = TokenCache(redis_client, lambda _key: MintedToken(SecretStr("last"), 900), store)
    with working(ending_broker(redis_client, store, tokens), threads=1):
        tokens.get(ACCOUNT)
        assert store.tokens == {}
    assert store.tokens[ACCOUNT].value.get_secret_value() == "last"


def test_a_store_that_is_away_holds_no_worker_up(redis_client: redis.Redis) -> None:
    store = Slow()
    tokens = TokenCache(redis_client, lambda _key: MintedToken(SecretStr("last"), 900), store)
    broker = ending_broker(redis_client, store, tokens)
    with (
        structlog.testing.capture_logs() as logs,
        Stopwatch() as watch,
        working(broker, threads=1),
    ):
        tokens.get(ACCOUNT)
        store.failure = RuntimeError("away")
    assert watch.seconds < 3
    assert "token.not_saved_in_time" not in {line["event"] for line in logs}
    assert store.tokens == {}
